"""The dialect `tokens`: `send_future`, `state_future`, and a token for each thing that may be done.

Futures specification, 2.4, with which this project began; texts 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, Future
from minihs.homeserver.futures.errors import ForeignGroup, NoTimeoutInGroup
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.service import Futures, Scheduled
from minihs.homeserver.transactions import TransactionKey, Transactions
from minihs.http.dialects.answering import answer_once, transaction
from minihs.http.dialects.base import Endpoint, QuietDialect
from minihs.http.dialects.mixing import check_content
from minihs.http.dialects.parameters import GROUP, TIMEOUT, given, name, timeout_ms
from minihs.http.dialects.redemption import CANCEL, REFRESH, SEND, Redemption
from minihs.http.dialects.running import RunningFutures
from minihs.http.dialects.spelling import C, U
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.store.future_rows import StoredFuture

ROOTS = (f"{C}/v1", f"{C}/v3", U, f"{C}/unstable/io.element.msc3140")
LISTINGS = (f"{C}/v1/future", f"{C}/v3/futures", f"{U}/future")
OWN = frozenset({TIMEOUT, GROUP})
NO_TIMEOUT = "none"
"""An older spelling of "no timeout"."""


class Tokens(QuietDialect):
    """Futures that are sent, cancelled and refreshed by tokens, in groups that their owner names."""

    name = "tokens"

    def __init__(
        self,
        *,
        futures: Futures,
        transactions: Transactions,
        redemption: Redemption,
        running: RunningFutures,
        entropy: Entropy,
    ) -> None:
        self._futures = futures
        self._transactions = transactions
        self._redemption = redemption
        self._listings = running.offer(self.name, LISTINGS, self._item)
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
                parameters=OWN,
            ),
            Endpoint(
                method="PUT",
                paths=(*state, *(f"{path}/{{state_key}}" for path in state)),
                access=Access.USER,
                handler=self.state_future,
                limit="futures_schedule",
                parameters=OWN,
            ),
            *self._redemption.endpoints(),
            *self._listings,
        )

    async def send_future(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT …/rooms/{roomId}/send_future/{eventType}/{txnId}`."""
        args = request.args
        scope = f"rooms/{args['room_id']}/send_future/{args['event_type']}"
        return await self._schedule(request, None, transaction(request, scope, args["txn_id"]))

    async def state_future(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT …/rooms/{roomId}/state_future/{eventType}/{stateKey}`."""
        return await self._schedule(request, request.args.get("state_key", ""), None)

    async def _schedule(
        self, request: ApiRequest, state_key: str | None, key: TransactionKey | None
    ) -> dict[str, Any]:
        content = request.json
        check_content(content, request.args["event_type"])
        timeout = given(request.query, TIMEOUT)
        wait_ms = None if timeout == NO_TIMEOUT else timeout_ms(timeout)
        group = name(given(request.query, GROUP), GROUP)
        if wait_ms is None and group is None:
            raise MatrixError(400, "M_MISSING_PARAM", f"`{TIMEOUT}` or `{GROUP}` must be given.")
        order = FutureOrder(
            owner=request.user.user_id,
            room_id=RoomID(request.args["room_id"]),
            type=request.args["event_type"],
            content=content,
            state_key=state_key,
            timeout_ms=wait_ms,
            cancel_rule=CancelRule.ANY,
            dialect=self.name,
            tokens=token_kinds(wait_ms),
            request={"path": request.path},
        )
        try:
            return await answer_once(
                self._transactions,
                key,
                lambda record: self._futures.schedule(
                    (order,), group=group or token_urlsafe(self._entropy), record=record
                ),
                lambda scheduled: token_reply(self._futures, scheduled),
            )
        except NoTimeoutInGroup as refusal:
            raise MatrixError(409, "M_UNKNOWN_FUTURE_GROUP", refusal.message) from refusal
        except ForeignGroup as refusal:
            raise MatrixError(405, "M_FORBIDDEN", refusal.message) from refusal

    def _item(self, item: Sequence[StoredFuture]) -> dict[str, Any]:
        return listed(self._futures, item[0])


def token_kinds(wait_ms: int | None) -> tuple[str, ...]:
    """What tokens a future has: one without a timer has nothing to refresh."""
    return (SEND, CANCEL) if wait_ms is None else (SEND, CANCEL, REFRESH)


def token_reply(futures: Futures, scheduled: Scheduled) -> dict[str, Any]:
    """The reply to whoever scheduled one future."""
    return _tokens_of(futures, scheduled.futures[0], scheduled.group_name)


def listed(futures: Futures, stored: StoredFuture) -> dict[str, Any]:
    """A future as the request that made it, with the group that it has got, and its reply."""
    future, request = stored.future, stored.payload.request
    prefix = request.get("prefix", "")
    query = f"{prefix}{GROUP}={quote(stored.group_name or '', safe='')}"
    if future.timeout_ms is not None:
        query = f"{prefix}{TIMEOUT}={future.timeout_ms}&{query}"
    return {
        "url": f"{request['path']}?{query}",
        "body": stored.payload.content,
        "response": _tokens_of(futures, future, stored.group_name),
    }


def _tokens_of(futures: Futures, future: Future, group: str | None) -> dict[str, Any]:
    reply = {f"{kind}_token": futures.token(future.delay_id, kind) for kind in token_kinds(future.timeout_ms)}
    return {**reply, "future_group_id": group}
