"""The dialect `will-expire`: an event that says by itself when it has become stale.

Futures specification, 2.6; text 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from minihs.events.ids import EventID, RoomID
from minihs.futures.model import CancelRule
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.futures.errors import DelayTooLarge
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.scheduling import Scheduled
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.transactions import Transactions
from minihs.http.client_api.room_requests import not_a_member
from minihs.http.dialects.answering import answer_once, send_transaction
from minihs.http.dialects.base import Endpoint, OrdinarySend, QuietDialect
from minihs.http.dialects.parameters import invalid
from minihs.http.dialects.redemption import Redemption
from minihs.http.dialects.spelling import WILL_EXPIRE, C
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access

RUNNING, EXPIRED, ENDED = "running", "expired", "ended"
RELATES_TO = "m.relates_to"
REL_TYPE = "m.expire.relationship"
EXPIRATION = "expiration"
"""The purpose of the one token that both restarts the timer and ends the event."""


class ExpirationBody(msgspec.Struct):
    """The body of `PUT …/expiration/{refresh,end}`."""

    expire_refresh_token: str


class WillExpire(QuietDialect):
    """The event is sent at once; of its two copies, one on timeout and one on request, one is sent later."""

    name = "will-expire"
    marks = frozenset({WILL_EXPIRE})

    def __init__(
        self,
        *,
        futures: Futures,
        transactions: Transactions,
        limiter: RateLimiter,
        redemption: Redemption,
    ) -> None:
        self._futures = futures
        self._transactions = transactions
        self._limiter = limiter
        self._redemption = redemption

    def endpoints(self) -> Sequence[Endpoint]:
        return tuple(
            Endpoint(
                method="PUT",
                paths=(f"{C}/v3/expiration/{name}",),
                access=Access.OPEN,
                handler=handler,
                body=ExpirationBody,
            )
            for name, handler in (("refresh", self.refresh), ("end", self.end))
        )

    def claims(self, send: OrdinarySend) -> bool:
        """What other types stand there for is the sender's affair: the copies say it with words."""
        return type(send.content.get(WILL_EXPIRE)) is int

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        """`PUT …/send/{eventType}/{txnId}` and `PUT …/state/{eventType}/{stateKey}` with an expiry."""
        user = send.request.user
        seconds = send.content[WILL_EXPIRE]
        if seconds <= 0:
            raise invalid(f"`{WILL_EXPIRE}` must be a positive number of seconds.")
        self._limiter.charge("futures_schedule", user.user_id)
        draft = EventDraft(
            room_id=RoomID(send.room_id),
            sender=user.user_id,
            type=send.type,
            content={**send.content, WILL_EXPIRE: RUNNING},
            state_key=send.state_key,
            device_id=user.device_id,
            txn_id=send.txn_id,
        )
        try:
            return await answer_once(
                self._transactions,
                send_transaction(send),
                lambda record: self._futures.schedule_beside(
                    draft,
                    lambda event_id: self._copies(send, seconds, event_id),
                    is_guest=user.is_guest,
                    record=record,
                ),
                self._reply,
            )
        except DelayTooLarge as refusal:
            raise invalid(
                f"`{WILL_EXPIRE}` is at most {refusal.max_delay_ms // 1000} seconds here."
            ) from refusal
        except UnknownRoom as refusal:
            raise not_a_member() from refusal

    async def refresh(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT {C}/v3/expiration/refresh`."""
        future, _ = await self._open(request)
        return await self._redemption.perform(self._futures.restart(future.delay_id))

    async def end(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT {C}/v3/expiration/end`."""
        future, _ = await self._open(request)
        return await self._redemption.perform(self._futures.send_part(future.delay_id, ENDED))

    def _open(self, request: ApiRequest) -> Any:
        body: ExpirationBody = request.body
        return self._redemption.open(request, body.expire_refresh_token, (EXPIRATION,))

    def _copies(self, send: OrdinarySend, seconds: int, event_id: EventID) -> tuple[FutureOrder, ...]:
        return tuple(
            FutureOrder(
                owner=send.request.user.user_id,
                room_id=RoomID(send.room_id),
                type=send.type,
                content={
                    **send.content,
                    WILL_EXPIRE: word,
                    RELATES_TO: {"event_id": event_id, "rel_type": REL_TYPE},
                },
                state_key=send.state_key,
                timeout_ms=wait_ms,
                cancel_rule=CancelRule.ANY,
                dialect=self.name,
                part=word,
                tokens=tokens,
            )
            for word, wait_ms, tokens in ((EXPIRED, seconds * 1000, (EXPIRATION,)), (ENDED, None, ()))
        )

    def _reply(self, scheduled: Scheduled) -> dict[str, Any]:
        return {
            "event_id": scheduled.event_id,
            "eventId": scheduled.event_id,
            "expire_refresh_token": self._futures.token(scheduled.futures[0].delay_id, EXPIRATION),
        }
