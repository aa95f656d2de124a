"""The dialect `future-id`: one ID for everything that may be done, and groups by their parent.

Futures specification, 2.3; a draft of 2024-07-15.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.futures.model import CancelRule, Future
from minihs.homeserver.futures.errors import (
    DelayTooLarge,
    ForeignGroup,
    FutureConflict,
    NotRestartable,
    TokenSpent,
    TokenUnknown,
    UnknownFuture,
)
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.scheduling import Recorder, Scheduled
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.answering import answer_once, send_transaction
from minihs.http.dialects.base import Endpoint, OrdinarySend, QuietDialect
from minihs.http.dialects.management import Authority
from minihs.http.dialects.parameters import PARENT, TIMEOUT, either, given, invalid, timeout_ms
from minihs.http.dialects.redemption import gone
from minihs.http.dialects.running import RunningFutures
from minihs.http.dialects.spelling import PREFIX, C, U
from minihs.http.dialects.tokens_on_send import timeout_exceeded
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.store.future_rows import StoredFuture

FUTURE_ID = "future-id"
"""The purpose of the token that is this dialect's ID: a delay ID would be enough on other dialects' paths."""

PARENT_PART, CHILD_PART = "parent", "child"


class UpdateBody(msgspec.Struct):
    """The body of `POST …/update_future`."""

    future_id: str
    action: Literal["send", "cancel", "refresh"]


class FutureId(QuietDialect):
    """`future_timeout` and `parent_future_id` on `/send` and `/state`; an action for its owner alone."""

    name = "future-id"
    parameters = either(TIMEOUT, PARENT)

    def __init__(
        self,
        *,
        futures: Futures,
        transactions: Transactions,
        limiter: RateLimiter,
        running: RunningFutures,
        authority: Authority,
    ) -> None:
        self._authority = authority
        self._futures = futures
        self._transactions = transactions
        self._limiter = limiter
        self._listings = running.offer(self.name, (f"{C}/v1/future",), self._item)
        self._actions: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "send": futures.send,
            "cancel": futures.cancel,
            "refresh": futures.restart,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="POST",
                paths=(f"{C}/v1/update_future", f"{U}/update_future"),
                access=self._authority.access,
                handler=self.update,
                body=UpdateBody,
            ),
            *self._listings,
        )

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        """`PUT …/send/{eventType}/{txnId}?future_timeout=` and `PUT …/state/{eventType}/{stateKey}?…`."""
        query, user = send.request.query, send.request.user
        self._limiter.charge("futures_schedule", user.user_id)
        parent_id = given(query, PARENT, PREFIX + PARENT)
        prefixed = any(parameter.startswith(PREFIX) for parameter in query.names())
        order = FutureOrder(
            owner=user.user_id,
            room_id=RoomID(send.room_id),
            type=send.type,
            content=send.content,
            state_key=send.state_key,
            timeout_ms=timeout_ms(given(query, TIMEOUT, PREFIX + TIMEOUT)),
            cancel_rule=CancelRule.ANY,
            dialect=self.name,
            part=PARENT_PART if parent_id is None else CHILD_PART,
            tokens=(FUTURE_ID,),
            request={
                "path": send.request.path,
                "prefix": PREFIX if prefixed else "",
                "parent": parent_id,
            },
        )

        async def schedule(record: Recorder | None) -> Scheduled:
            parent = None if parent_id is None else await self._parent(parent_id, user.user_id)
            beside = None if parent is None else parent.delay_id
            return await self._futures.schedule((order,), beside=beside, record=record)

        try:
            return await answer_once(
                self._transactions,
                send_transaction(send),
                schedule,
                lambda scheduled: {"future_id": self._id_of(scheduled.futures[0])},
            )
        except UnknownFuture:
            raise _unknown_parent() from None
        except ForeignGroup as refusal:
            raise MatrixError(400, "M_FORBIDDEN", refusal.message) from refusal
        except DelayTooLarge as refusal:
            raise timeout_exceeded(refusal) from refusal

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        """`POST {C}/v1/update_future`."""
        body: UpdateBody = request.body
        requester = request.requester
        if requester is not None:
            self._limiter.charge("futures_manage", requester.user_id)
        try:
            future, purpose = await self._futures.redeem(body.future_id)
            if purpose != FUTURE_ID or self._authority.owner(request) not in (None, future.owner):
                raise TokenUnknown
            if requester is None:
                self._limiter.charge("futures_action", future.delay_id)
            await self._actions[body.action](future.delay_id)
        except NotRestartable as refusal:
            raise invalid(refusal.message) from refusal
        except (TokenUnknown, TokenSpent, UnknownFuture, FutureConflict) as refusal:
            if requester is None:
                self._limiter.charge("futures_address", request.client_address)
            raise gone("There is no such future, or it is over.") from refusal
        return {}

    async def _parent(self, parent_id: str, owner: UserID) -> Future:
        try:
            parent, purpose = await self._futures.redeem(parent_id)
        except (TokenUnknown, TokenSpent):
            raise _unknown_parent() from None
        if purpose != FUTURE_ID or parent.part != PARENT_PART:
            raise _unknown_parent()
        if parent.owner != owner:
            raise ForeignGroup
        return parent

    def _id_of(self, future: Future) -> str:
        return self._futures.token(future.delay_id, FUTURE_ID)

    def _item(self, item: Sequence[StoredFuture]) -> dict[str, Any]:
        """A future as the request that made it, and its reply."""
        future, request = item[0].future, item[0].payload.request
        query = []
        if future.timeout_ms is not None:
            query.append(f"{request['prefix']}{TIMEOUT}={future.timeout_ms}")
        if request["parent"] is not None:
            query.append(f"{request['prefix']}{PARENT}={quote(request['parent'], safe='')}")
        return {
            "url": f"{request['path']}?{'&'.join(query)}",
            "body": item[0].payload.content,
            "response": {"future_id": self._id_of(future)},
        }


def _unknown_parent() -> MatrixError:
    return MatrixError(
        400,
        "M_UNKNOWN_FUTURE_PARENT_FUTURE_ID",
        f"`{PARENT}` must name a scheduled future with a timeout that has no parent itself.",
    )
