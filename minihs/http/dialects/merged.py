"""The dialect `merged`: MSC4140 as it was accepted. Futures specification, 2.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, Failed, Sent
from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.errors import DelayTooLarge, UnknownFuture
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.service import Futures, Scheduled
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.answering import answer_once, transaction
from minihs.http.dialects.base import Endpoint, QuietDialect
from minihs.http.dialects.management import Management, capability, not_found
from minihs.http.dialects.mixing import check_content
from minihs.http.dialects.spelling import C, U
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access
from minihs.store.future_rows import StoredFuture


class ScheduleBody(msgspec.Struct):
    """The body of `PUT …/delayed_event/{eventType}/{txnId}`; with a `state_key` it is a state event."""

    delay_ms: int
    content: dict[str, Any]
    state_key: str | UnsetType = UNSET


class Merged(QuietDialect):
    """Endpoints of their own for scheduling, managing and looking up."""

    name = "merged"

    def __init__(
        self, *, futures: Futures, transactions: Transactions, management: Management, limits: FutureLimits
    ) -> None:
        self._futures = futures
        self._transactions = transactions
        self._management = management
        self._limits = limits

    def endpoints(self) -> Sequence[Endpoint]:
        schedule = "rooms/{room_id}/delayed_event/{event_type}/{txn_id}"
        return (
            Endpoint(
                method="PUT",
                paths=(f"{C}/v3/{schedule}", f"{U}/{schedule}"),
                access=Access.USER,
                handler=self.schedule,
                body=ScheduleBody,
                limit="futures_schedule",
            ),
            self._management.stable_actions(),
            self._management.unstable_actions(),
            Endpoint(
                method="GET",
                paths=(f"{C}/v1/delayed_events/{{delay_id}}", f"{U}/delayed_events/{{delay_id}}"),
                access=Access.USER,
                handler=self.lookup,
                limit="read",
            ),
        )

    async def schedule(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT …/rooms/{roomId}/delayed_event/{eventType}/{txnId}`."""
        body: ScheduleBody = request.body
        args, user = request.args, request.user
        check_content(body.content, args["event_type"])
        room_id, event_type = args["room_id"], args["event_type"]
        order = FutureOrder(
            owner=user.user_id,
            room_id=RoomID(room_id),
            type=event_type,
            content=body.content,
            state_key=None if body.state_key is UNSET else body.state_key,
            timeout_ms=body.delay_ms,
            cancel_rule=CancelRule.NEVER,
            dialect=self.name,
            reveals_id=True,
        )
        scope = f"rooms/{room_id}/delayed_event/{event_type}"
        try:
            return await answer_once(
                self._transactions,
                transaction(request, scope, args["txn_id"]),
                lambda record: self._futures.schedule((order,), record=record),
                delay_id_reply,
            )
        except DelayTooLarge as refusal:
            stable = request.path.startswith(f"{C}/v3/")
            errcode = "M_DELAY_TOO_LARGE" if stable else "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE"
            raise MatrixError(400, errcode, refusal.message) from refusal

    async def lookup(self, request: ApiRequest) -> dict[str, Any]:
        """`GET …/delayed_events/{delay_id}`."""
        try:
            stored = await self._futures.lookup(request.args["delay_id"], request.user.user_id)
        except UnknownFuture:
            raise not_found() from None
        if not stored.future.reveals_id:
            raise not_found()
        return lookup_shape(stored)

    def unstable_features(self) -> Mapping[str, bool]:
        return {"org.matrix.msc4140.stable": True}

    def capabilities(self) -> Mapping[str, Any]:
        return capability(self._limits)


def delay_id_reply(scheduled: Scheduled) -> dict[str, Any]:
    """The reply to whoever scheduled one future."""
    return {"delay_id": scheduled.futures[0].delay_id}


def lookup_shape(stored: StoredFuture) -> dict[str, Any]:
    """A future as its owner sees it."""
    future = stored.future
    shape: dict[str, Any] = {
        "delay_id": future.delay_id,
        "room_id": future.room_id,
        "type": future.type,
        "delay_ms": future.timeout_ms,
        "delayed_since_ts": future.since_ts,
        "content": stored.payload.content,
    }
    if future.state_key is not None:
        shape["state_key"] = future.state_key
    outcome = future.outcome
    if outcome is not None:
        finalised: dict[str, Any] = {"finalised_ts": outcome.at_wall_ms}
        shape["finalised"] = finalised
        if isinstance(outcome, Sent):
            finalised["event_id"] = outcome.event_id
        elif isinstance(outcome, Failed):
            finalised["error"] = outcome.error.to_json()
    return shape
