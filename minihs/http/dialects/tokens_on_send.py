"""The dialect `tokens-on-send`: groups and tokens through the ordinary endpoints.

Futures specification, 2.3; text 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule
from minihs.homeserver.futures.errors import DelayTooLarge, ForeignGroup, NoTimeoutInGroup
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.answering import answer_once, send_transaction
from minihs.http.dialects.base import Endpoint, OrdinarySend, QuietDialect
from minihs.http.dialects.parameters import GROUP, TIMEOUT, either, given, name, timeout_ms
from minihs.http.dialects.redemption import Redemption
from minihs.http.dialects.running import RunningFutures
from minihs.http.dialects.spelling import PREFIX
from minihs.http.dialects.tokens import LISTINGS, listed, token_kinds, token_reply
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.store.future_rows import StoredFuture


class TokensOnSend(QuietDialect):
    """`future_timeout` and `future_group_id` on `/send` and `/state`."""

    name = "tokens-on-send"
    parameters = either(TIMEOUT, GROUP)

    def __init__(
        self,
        *,
        futures: Futures,
        transactions: Transactions,
        limiter: RateLimiter,
        redemption: Redemption,
        running: RunningFutures,
        entropy: Entropy,
    ) -> None:
        self._futures = futures
        self._transactions = transactions
        self._limiter = limiter
        self._redemption = redemption
        self._listings = running.offer(self.name, LISTINGS, self._item)
        self._entropy = entropy

    def endpoints(self) -> Sequence[Endpoint]:
        return (*self._redemption.endpoints(), *self._listings)

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        """`PUT …/send/{eventType}/{txnId}?future_timeout=` and `PUT …/state/{eventType}/{stateKey}?…`."""
        query, user = send.request.query, send.request.user
        self._limiter.charge("futures_schedule", user.user_id)
        wait_ms = timeout_ms(given(query, TIMEOUT, PREFIX + TIMEOUT))
        group = name(given(query, GROUP, PREFIX + GROUP), GROUP)
        prefixed = any(parameter.startswith(PREFIX) for parameter in query.names())
        order = FutureOrder(
            owner=user.user_id,
            room_id=RoomID(send.room_id),
            type=send.type,
            content=send.content,
            state_key=send.state_key,
            timeout_ms=wait_ms,
            cancel_rule=CancelRule.ANY,
            dialect=self.name,
            tokens=token_kinds(wait_ms),
            request={"path": send.request.path, "prefix": PREFIX if prefixed else ""},
        )
        try:
            return await answer_once(
                self._transactions,
                send_transaction(send),
                lambda record: self._futures.schedule(
                    (order,), group=group or token_urlsafe(self._entropy), record=record
                ),
                lambda scheduled: token_reply(self._futures, scheduled),
            )
        except NoTimeoutInGroup as refusal:
            raise MatrixError(400, "M_UNKNOWN_FUTURE_GROUP", refusal.message) from refusal
        except ForeignGroup as refusal:
            raise MatrixError(400, "M_FORBIDDEN", refusal.message) from refusal
        except DelayTooLarge as refusal:
            raise timeout_exceeded(refusal) from refusal

    def _item(self, item: Sequence[StoredFuture]) -> dict[str, Any]:
        return listed(self._futures, item[0])


def timeout_exceeded(refusal: DelayTooLarge) -> MatrixError:
    """The refusal of a timeout above the maximum, which it tells."""
    return MatrixError(
        400,
        "M_FUTURE_MAX_TIMEOUT_EXCEEDED",
        refusal.message,
        extra={"max_timeout_duration": refusal.max_delay_ms},
    )
