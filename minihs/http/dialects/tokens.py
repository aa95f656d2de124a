"""The dialect `tokens`: `send_future`, `state_future`, and a token for each thing that may be done.

Futures specification, 2.4, with which this project began; texts 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, Future
from minihs.homeserver.futures.errors import (
    ForeignGroup,
    FutureConflict,
    NoTimeoutInGroup,
    NotRestartable,
    TokenSpent,
    TokenUnknown,
    UnknownFuture,
)
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.service import Futures, Scheduled
from minihs.homeserver.transactions import Record, TransactionKey, Transactions
from minihs.http.dialects.base import Endpoint, QuietDialect
from minihs.http.dialects.lockout import TokenLockout
from minihs.http.dialects.table import C, U, check_no_other_dialect
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest, Query, Reply
from minihs.http.routing import Access, paths
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.store.future_rows import StoredFuture
from minihs.store.writer import Batch

ROOTS = (f"{C}/v1", f"{C}/v3", U, f"{C}/unstable/io.element.msc3140")
TIMEOUT, GROUP = "future_timeout", "future_group_id"
NO_TIMEOUT = "none"
"""An older spelling of "no timeout"."""

MAX_GROUP_BYTES = 255
SEND, CANCEL, REFRESH = "send", "cancel", "refresh"


class Tokens(QuietDialect):
    """Futures that are sent, cancelled and refreshed by tokens, in groups that their owner names."""

    name = "tokens"

    def __init__(
        self,
        *,
        futures: Futures,
        transactions: Transactions,
        limiter: RateLimiter,
        lockout: TokenLockout,
        entropy: Entropy,
    ) -> None:
        self._futures = futures
        self._transactions = transactions
        self._limiter = limiter
        self._lockout = lockout
        self._entropy = entropy

    def endpoints(self) -> Sequence[Endpoint]:
        rooms = [f"{root}/rooms/{{room_id}}" for root in ROOTS]
        state = [f"{room}/state_future/{{event_type}}" for room in rooms]
        return (
            Endpoint(
                method="PUT",
                paths=tuple(f"{room}/send_future/{{event_type}}/{{txn_id}}" for room in rooms),
                access=Access.USER,
                handler=self.send_future,
                limit="futures_schedule",
            ),
            Endpoint(
                method="PUT",
                paths=(*state, *(f"{path}/{{state_key}}" for path in state)),
                access=Access.USER,
                handler=self.state_future,
                limit="futures_schedule",
            ),
            Endpoint(
                method="POST",
                paths=(f"{C}/v1/future/{{token}}", f"{C}/v3/futures/{{token}}", f"{U}/future/{{token}}"),
                access=Access.OPEN,
                handler=self.redeem,
            ),
            Endpoint(
                method="PUT", paths=(f"{C}/v3/futures/{{token}}",), access=Access.OPEN, handler=self.redeem
            ),
            Endpoint(
                method="GET",
                paths=paths(f"{C}/v1/future", f"{C}/v3/futures", f"{U}/future"),
                access=Access.USER,
                handler=self.list_scheduled,
                limit="read",
            ),
        )

    async def send_future(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT …/rooms/{roomId}/send_future/{eventType}/{txnId}`."""
        args, user = request.args, request.user
        order, group = self._order(request, None)

        async def work(record: Record) -> dict[str, Any]:
            def also(batch: Batch, scheduled: Scheduled) -> None:
                record(batch, self._reply(scheduled.futures[0], scheduled.group_name))

            return await self._schedule(order, group, also)

        scope = f"rooms/{order.room_id}/send_future/{order.type}"
        key = TransactionKey(user.user_id, user.device_id, scope, args["txn_id"])
        return await self._transactions.once(key, work)

    async def state_future(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT …/rooms/{roomId}/state_future/{eventType}/{stateKey}`."""
        order, group = self._order(request, request.args.get("state_key", ""))
        return await self._schedule(order, group, None)

    async def redeem(self, request: ApiRequest) -> dict[str, Any]:
        """`POST {C}/v1/future/{token}` and its other spellings: what the token is for, happens."""
        try:
            future, purpose = await self._futures.redeem(request.args["token"])
        except TokenUnknown:
            raise self._lockout.unknown(request.client_address) from None
        except TokenSpent as spent:
            raise _gone(spent.message) from None
        self._lockout.good(request.client_address)
        self._limiter.charge("futures_action", future.delay_id)
        perform = {
            SEND: self._futures.send,
            CANCEL: self._futures.cancel,
            REFRESH: self._futures.restart,
        }[purpose]
        try:
            await perform(future.delay_id)
        except (UnknownFuture, FutureConflict, NotRestartable) as finalised:
            raise _gone(TokenSpent().message) from finalised
        return {}

    async def list_scheduled(self, request: ApiRequest) -> Reply:
        """`GET {C}/v1/future` and its other spellings."""
        stored = await self._futures.scheduled(request.user.user_id, (self.name,))
        return Reply(body=[self._item(one) for one in stored])

    def _order(self, request: ApiRequest, state_key: str | None) -> tuple[FutureOrder, str]:
        check_no_other_dialect(request.query, own=(TIMEOUT, GROUP))
        timeout_ms, group = _timeout(request.query), request.query.one(GROUP)
        if timeout_ms is None and group is None:
            raise MatrixError(400, "M_MISSING_PARAM", f"`{TIMEOUT}` or `{GROUP}` must be given.")
        if group is not None and not 0 < len(group.encode()) <= MAX_GROUP_BYTES:
            raise MatrixError(400, "M_INVALID_PARAM", f"`{GROUP}` must have 1 to {MAX_GROUP_BYTES} bytes.")
        order = FutureOrder(
            owner=request.user.user_id,
            room_id=RoomID(request.args["room_id"]),
            type=request.args["event_type"],
            content=request.json,
            state_key=state_key,
            timeout_ms=timeout_ms,
            cancel_rule=CancelRule.ANY,
            dialect=self.name,
            tokens=(SEND, CANCEL) if timeout_ms is None else (SEND, CANCEL, REFRESH),
            request={"path": request.path},
        )
        return order, group or token_urlsafe(self._entropy)

    async def _schedule(self, order: FutureOrder, group: str, also: Any) -> dict[str, Any]:
        try:
            scheduled = await self._futures.schedule((order,), group=group, record=also)
        except NoTimeoutInGroup as refusal:
            raise MatrixError(409, "M_UNKNOWN_FUTURE_GROUP", refusal.message) from refusal
        except ForeignGroup as refusal:
            raise MatrixError(405, "M_FORBIDDEN", refusal.message) from refusal
        return self._reply(scheduled.futures[0], scheduled.group_name)

    def _reply(self, future: Future, group: str | None) -> dict[str, Any]:
        reply = {
            "send_token": self._futures.token(future.delay_id, SEND),
            "cancel_token": self._futures.token(future.delay_id, CANCEL),
            "future_group_id": group,
        }
        if future.timeout_ms is not None:
            reply["refresh_token"] = self._futures.token(future.delay_id, REFRESH)
        return reply

    def _item(self, stored: StoredFuture) -> dict[str, Any]:
        future, group = stored.future, stored.group_name or ""
        query = f"{GROUP}={quote(group, safe='')}"
        if future.timeout_ms is not None:
            query = f"{TIMEOUT}={future.timeout_ms}&{query}"
        return {
            "url": f"{stored.payload.request['path']}?{query}",
            "body": stored.payload.content,
            "response": self._reply(future, group),
        }


def _timeout(query: Query) -> int | None:
    if query.one(TIMEOUT) == NO_TIMEOUT:
        return None
    return query.integer(TIMEOUT, minimum=1)


def _gone(sentence: str) -> MatrixError:
    return MatrixError(410, "M_NOT_FOUND", sentence)
