"""The dialect `batch`: what is sent now, on timeout and on action, in one request.

Futures specification, 2.5; text 2, and the alternative in text 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from minihs.events.ids import EventID, RoomID
from minihs.futures.model import CancelRule, Future
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.futures.errors import DelayTooLarge, UnknownPart
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.scheduling import Recorder, Scheduled
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.transactions import Record, Transactions
from minihs.http.client_api.room_requests import not_a_member
from minihs.http.dialects.answering import answer_once, transaction
from minihs.http.dialects.base import Endpoint, OrdinarySend, QuietDialect
from minihs.http.dialects.batch_body import (
    NOW,
    ON_ACTION,
    ON_TIMEOUT,
    TIMEOUT,
    BatchBody,
    Part,
    is_batch,
    parse_batch,
)
from minihs.http.dialects.mixing import check_content, check_fields
from minihs.http.dialects.parameters import invalid
from minihs.http.dialects.redemption import CANCEL, REFRESH, SEND, Redemption
from minihs.http.dialects.running import RunningFutures
from minihs.http.dialects.spelling import BATCH_TYPE, C, U
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access
from minihs.store.future_rows import StoredFuture

BATCH = "batch"
"""The purpose of the `future_token`, which is for the whole batch."""

ACTION = "action/"
"""Before an action's name, where parts are told apart."""

ON_TIMEOUT_TOKENS = (SEND, REFRESH, CANCEL)


class TokenBody(msgspec.Struct):
    """The body of `POST …/futures/refresh` and `…/futures/action/{name}`."""

    future_token: str


class Batched(QuietDialect):
    """Everything about one moment in one request, under one token."""

    name = "batch"
    types = frozenset({BATCH_TYPE})

    def __init__(
        self,
        *,
        futures: Futures,
        sender: EventSender,
        transactions: Transactions,
        limiter: RateLimiter,
        redemption: Redemption,
        running: RunningFutures,
    ) -> None:
        self._futures = futures
        self._sender = sender
        self._transactions = transactions
        self._limiter = limiter
        self._redemption = redemption
        self._listings = running.offer(
            self.name, (f"{C}/v1/future", f"{C}/v3/futures"), self._item, whole_groups=True
        )

    def endpoints(self) -> Sequence[Endpoint]:
        send = f"rooms/{{room_id}}/send/{BATCH_TYPE}/{{txn_id}}"
        return (
            # The same under /v3 is an ordinary send, of which this is asked only if it looks like a batch.
            Endpoint(
                method="PUT",
                paths=(f"{C}/v1/{send}", f"{U}/{send}"),
                access=Access.USER,
                handler=self.send,
                limit="send",
            ),
            *(
                Endpoint(
                    method=method,
                    paths=(f"{C}/v3/futures/{path}",),
                    access=Access.OPEN,
                    handler=handler,
                    body=TokenBody,
                )
                for path, handler in (("refresh", self.refresh), ("action/{name}", self.act))
                for method in ("POST", "PUT")
            ),
            *self._redemption.endpoints(),
            *self._listings,
        )

    def claims(self, send: OrdinarySend) -> bool:
        """A body that is no batch is an ordinary message of this type."""
        return send.type == BATCH_TYPE and send.txn_id is not None and is_batch(send.content)

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        """`PUT {C}/v3/rooms/{roomId}/send/future/{txnId}` with a batch in its body."""
        return await self._schedule(send.request, send.content)

    async def send(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT …/rooms/{roomId}/send/future/{txnId}` under the other roots."""
        content = request.json
        check_content(content)
        if is_batch(content):
            return await self._schedule(request, content)
        draft = _draft(request, Part(BATCH_TYPE, content, None))

        async def work(record: Record) -> dict[str, Any]:
            event_id = await self._sender.send(
                draft, also=lambda batch, event: record(batch, {"event_id": event.event_id})
            )
            return {"event_id": event_id}

        try:
            return await self._transactions.once(_transaction(request), work)
        except UnknownRoom as refusal:
            raise not_a_member() from refusal

    async def refresh(self, request: ApiRequest) -> dict[str, Any]:
        """`POST {C}/v3/futures/refresh`."""
        future = await self._open(request)
        return await self._redemption.perform(self._futures.restart(future.delay_id))

    async def act(self, request: ApiRequest) -> dict[str, Any]:
        """`POST {C}/v3/futures/action/{name}`."""
        future = await self._open(request)
        name = request.args["name"]
        try:
            return await self._redemption.perform(self._futures.send_part(future.delay_id, ACTION + name))
        except UnknownPart:
            raise MatrixError(404, "M_NOT_FOUND", f"The batch has no action {name!r}.") from None

    async def _open(self, request: ApiRequest) -> Future:
        body: TokenBody = request.body
        return (await self._redemption.open(request, body.future_token, (BATCH,)))[0]

    async def _schedule(self, request: ApiRequest, content: dict[str, Any]) -> dict[str, Any]:
        user = request.user
        check_fields(content, self.name)
        body = parse_batch(content)
        self._limiter.charge("futures_schedule", user.user_id)

        async def schedule(record: Recorder | None) -> Scheduled:
            if body.now is None:
                return await self._futures.schedule(self._orders(request, body, None), record=record)
            return await self._futures.schedule_beside(
                _draft(request, body.now),
                lambda event_id: self._orders(request, body, event_id),
                is_guest=user.is_guest,
                record=record,
            )

        try:
            return await answer_once(self._transactions, _transaction(request), schedule, self._reply)
        except DelayTooLarge as refusal:
            raise invalid(f"`{TIMEOUT}` is at most {refusal.max_delay_ms // 1000} seconds here.") from refusal
        except UnknownRoom as refusal:
            raise not_a_member() from refusal

    def _orders(
        self, request: ApiRequest, body: BatchBody, event_id: EventID | None
    ) -> tuple[FutureOrder, ...]:
        now = None if body.now is None else {**body.now.to_json(), "event_id": event_id}
        orders = [self._order(request, body, event_id, body.on_timeout, TIMEOUT, body.timeout_s * 1000, now)]
        for name, part in body.on_action.items():
            orders.append(self._order(request, body, event_id, part, ACTION + name, None, None))
        return tuple(orders)

    def _order(
        self,
        request: ApiRequest,
        body: BatchBody,
        event_id: EventID | None,
        part: Part,
        name: str,
        wait_ms: int | None,
        now: dict[str, Any] | None,
    ) -> FutureOrder:
        event = part if event_id is None else part.after(event_id)
        bound_to = None
        if body.now is not None and body.now.state_key is not None:
            bound_to = (body.now.type, body.now.state_key)
        return FutureOrder(
            owner=request.user.user_id,
            room_id=RoomID(request.args["room_id"]),
            type=event.type,
            content=event.content,
            state_key=event.state_key,
            timeout_ms=wait_ms,
            cancel_rule=CancelRule.ANY,
            dialect=self.name,
            part=name,
            bound_to=bound_to,
            tokens=(SEND,) if wait_ms is None else (BATCH, *ON_TIMEOUT_TOKENS),
            request={} if now is None else {"now": now},
        )

    def _reply(self, scheduled: Scheduled) -> dict[str, Any]:
        reply: dict[str, Any] = {}
        for future in scheduled.futures:
            self._put(reply, future, {})
        if scheduled.event_id is not None:
            reply[NOW] = _both_spellings(scheduled.event_id)
        return reply

    def _item(self, item: Sequence[StoredFuture]) -> dict[str, Any]:
        """A batch as it was asked for, with what answered it."""
        listed: dict[str, Any] = {"room_id": item[0].future.room_id}
        for stored in item:
            future = stored.future
            self._put(listed, future, Part(future.type, stored.payload.content, future.state_key).to_json())
            now = stored.payload.request.get("now")
            if now is not None:
                listed[NOW] = {**now, **_both_spellings(now["event_id"])}
            if future.timeout_ms is not None:
                listed[TIMEOUT] = future.timeout_ms // 1000
        return listed

    def _put(self, batch: dict[str, Any], future: Future, event: dict[str, Any]) -> None:
        """The tokens of a part, and the event if it is shown, at its place."""
        kinds = (SEND,) if future.timeout_ms is None else ON_TIMEOUT_TOKENS
        entry = {**event, **{f"{kind}_token": self._futures.token(future.delay_id, kind) for kind in kinds}}
        if future.timeout_ms is None:
            name = (future.part or "").removeprefix(ACTION)
            batch.setdefault(ON_ACTION, {})[name] = entry
        else:
            batch[ON_TIMEOUT] = entry
            batch["future_token"] = self._futures.token(future.delay_id, BATCH)


def _both_spellings(event_id: str) -> dict[str, str]:
    """Text 2 spells it otherwise than the specification."""
    return {"event_id": event_id, "eventId": event_id}


def _draft(request: ApiRequest, part: Part) -> EventDraft:
    user = request.user
    return EventDraft(
        room_id=RoomID(request.args["room_id"]),
        sender=user.user_id,
        type=part.type,
        content=part.content,
        state_key=part.state_key,
        device_id=user.device_id,
        txn_id=request.args["txn_id"],
    )


def _transaction(request: ApiRequest) -> Any:
    """The same for all roots, and the ordinary endpoint's: it is the same path."""
    args = request.args
    return transaction(request, f"rooms/{args['room_id']}/send/{BATCH_TYPE}", args["txn_id"])
