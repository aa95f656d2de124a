"""The dialect `delay-query`: a delay as a query parameter of `/send` and `/state`, as shipped clients use it.

Futures specification, 2.2; its listings serve texts 6 to 8 at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, Cause, Failed, Sent
from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.errors import DelayTooLarge, UnknownFuture
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.answering import answer_once, send_transaction
from minihs.http.dialects.base import Endpoint, OrdinarySend, QuietDialect
from minihs.http.dialects.management import WITH_DELAY_ID, Management, capability
from minihs.http.dialects.merged import delay_id_reply, lookup_shape
from minihs.http.dialects.parameters import given, invalid, timeout_ms
from minihs.http.dialects.spelling import U
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest, Query
from minihs.http.routing import Access
from minihs.store.future_rows import StoredFuture

DELAY = ("org.matrix.msc4140.delay", "delay")
STICKY = "org.matrix.msc4354.sticky_duration_ms"
MAX_STICKY_MS = 3_600_000
"""MSC4354: an event is sticky for an hour at most."""

PAGE = 100
"""Futures in one answer of a listing: all that a user may have scheduled by default."""


MAX_MOMENT_DIGITS = 18


class ActionBody(msgspec.Struct):
    """The body of `POST {U}/delayed_events/{delay_id}`."""

    action: Literal["send", "cancel", "restart"]


class DelayQuery(QuietDialect):
    """Scheduling through the ordinary endpoints; management for whoever knows the delay ID."""

    name = "delay-query"
    parameters = frozenset(DELAY)

    def __init__(
        self,
        *,
        futures: Futures,
        transactions: Transactions,
        management: Management,
        limiter: RateLimiter,
        limits: FutureLimits,
    ) -> None:
        self._futures = futures
        self._transactions = transactions
        self._management = management
        self._limiter = limiter
        self._limits = limits

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="POST",
                paths=(f"{U}/delayed_events/{{delay_id}}",),
                access=self._management.unstable_access,
                handler=self.act,
                body=ActionBody,
            ),
            self._management.unstable_actions(),
            self._listing("delayed_events", self.list_all),
            self._listing("delayed_events/scheduled", self.list_scheduled),
            self._listing("delayed_events/finalised", self.list_finalised),
        )

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        """`PUT …/send/{eventType}/{txnId}?delay=` and `PUT …/state/{eventType}/{stateKey}?delay=`."""
        user, query = send.request.user, send.request.query
        self._limiter.charge("futures_schedule", user.user_id)
        order = FutureOrder(
            owner=user.user_id,
            room_id=RoomID(send.room_id),
            type=send.type,
            content=send.content,
            state_key=send.state_key,
            timeout_ms=_delay(query),
            cancel_rule=CancelRule.OTHER_SENDER,
            dialect=self.name,
            reveals_id=True,
            sticky_duration_ms=_sticky(query),
        )
        try:
            return await answer_once(
                self._transactions,
                send_transaction(send),
                lambda record: self._futures.schedule((order,), record=record),
                delay_id_reply,
            )
        except DelayTooLarge as refusal:
            raise MatrixError(
                400,
                "M_UNKNOWN",
                "The requested delay exceeds the allowed maximum.",
                extra={
                    "org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED",
                    "org.matrix.msc4140.max_delay": refusal.max_delay_ms,
                },
            ) from refusal

    async def act(self, request: ApiRequest) -> dict[str, Any]:
        """`POST {U}/delayed_events/{delay_id}` with an action in the body."""
        body: ActionBody = request.body
        return await self._management.unstable(request, body.action)

    async def list_all(self, request: ApiRequest) -> dict[str, Any]:
        """`GET {U}/delayed_events`: text 8, with the scheduled ones also where text 6 has them."""
        status = given(request.query, "status")
        if status not in (None, "scheduled", "finalised"):
            raise MatrixError(400, "M_UNKNOWN", "`status` must be scheduled or finalised.")
        wanted = request.query.many("delay_id")
        if wanted:
            stored = await self._named(request, wanted)
            scheduled = [one for one in stored if one.future.outcome is None]
            finalised = [one for one in stored if one.future.outcome is not None]
            next_batch = None
        else:
            page = await _Page.read(request, self._futures, status)
            scheduled, finalised, next_batch = page.scheduled, page.finalised, page.next_batch
        reply: dict[str, Any] = {}
        if status != "finalised":
            reply["delayed_events"] = reply["scheduled"] = [_item(one) for one in scheduled]
        if status != "scheduled":
            reply["finalised"] = [_finalised_item(one) for one in finalised]
        if next_batch is not None:
            reply["next_batch"] = next_batch
        return reply

    async def list_scheduled(self, request: ApiRequest) -> dict[str, Any]:
        """`GET {U}/delayed_events/scheduled`: text 7."""
        page = await _Page.read(request, self._futures, "scheduled")
        return _text_7("delayed_events", [_item(one) for one in page.scheduled], page)

    async def list_finalised(self, request: ApiRequest) -> dict[str, Any]:
        """`GET {U}/delayed_events/finalised`: text 7."""
        page = await _Page.read(request, self._futures, "finalised")
        return _text_7("finalised_events", [_finalised_item(one) for one in page.finalised], page)

    def unstable_features(self) -> Mapping[str, bool]:
        return {"org.matrix.msc4140": True}

    def capabilities(self) -> Mapping[str, Any]:
        return capability(self._limits)

    def _listing(self, path: str, handler: Any) -> Endpoint:
        return Endpoint(
            method="GET", paths=(f"{U}/{path}",), access=Access.USER, handler=handler, limit="read"
        )

    async def _named(self, request: ApiRequest, delay_ids: list[str]) -> list[StoredFuture]:
        found = []
        for delay_id in list(dict.fromkeys(delay_ids))[:PAGE]:
            try:
                stored = await self._futures.lookup(delay_id, request.user.user_id)
            except UnknownFuture:
                continue
            if stored.future.reveals_id:
                found.append(stored)
        return sorted(found, key=lambda one: (one.future.due_ms or 0, one.future.id))


class _Page:
    """One page of a listing. A token is the place behind its last entries: a moment and a delay ID."""

    def __init__(
        self, scheduled: list[StoredFuture], finalised: list[StoredFuture], next_batch: str | None
    ) -> None:
        self.scheduled = scheduled
        self.finalised = finalised
        self.next_batch = next_batch

    @classmethod
    async def read(cls, request: ApiRequest, futures: Futures, status: str | None) -> _Page:
        """What `?from=` and `status` ask for."""
        owner = request.user.user_id
        places = _places(given(request.query, "from"), status)
        scheduled: list[StoredFuture] = []
        finalised: list[StoredFuture] = []
        following: list[str] = []
        for kind, (moment, delay_id) in places.items():
            last_id = await _id_behind(futures, delay_id, request)
            if kind == "s":
                scheduled = await futures.scheduled(owner, WITH_DELAY_ID, after=(moment, last_id), limit=PAGE)
                last = scheduled[-1] if len(scheduled) == PAGE else None
                moment = 0 if last is None else last.future.due_ms or 0
            else:
                finalised = await futures.finalised(
                    owner, WITH_DELAY_ID, before=(moment, last_id), limit=PAGE
                )
                last = finalised[-1] if len(finalised) == PAGE else None
                outcome = None if last is None else last.future.outcome
                moment = 0 if outcome is None else outcome.at_wall_ms
            if last is not None:
                following.append(f"{kind}{moment}_{last.future.delay_id}")
        return cls(scheduled, finalised, "~".join(following) or None)


def _places(token: str | None, status: str | None) -> dict[str, tuple[int, str]]:
    """Where each of the lists that are asked for goes on."""
    if token is None:
        places = {"s": (-1, ""), "f": (2**62, "")}
    else:
        places = {}
        for part in token.split("~"):
            moment, separator, delay_id = part[1:].partition("_")
            is_moment = moment.isascii() and moment.isdigit() and len(moment) <= MAX_MOMENT_DIGITS
            if part[:1] not in ("s", "f") or not separator or not is_moment:
                raise _bad_token()
            places[part[:1]] = (int(moment), delay_id)
    left_out = {"scheduled": "f", "finalised": "s"}.get(status or "")
    return {kind: place for kind, place in places.items() if kind != left_out}


def _bad_token() -> MatrixError:
    return invalid("`from` must be the `next_batch` of an earlier answer.")


async def _id_behind(futures: Futures, delay_id: str, request: ApiRequest) -> int:
    if not delay_id:
        return 0
    try:
        return (await futures.lookup(delay_id, request.user.user_id)).future.id
    except UnknownFuture:
        return 0


def _text_7(key: str, items: list[dict[str, Any]], page: _Page) -> dict[str, Any]:
    reply: dict[str, Any] = {key: items}
    if page.next_batch is not None:
        reply["next_batch"] = page.next_batch
    return reply


def _delay(query: Query) -> int:
    values = {timeout_ms(given(query, name), name) for name in DELAY} - {None}
    delay = values.pop()
    if values or delay is None:
        raise invalid("The request names two different delays.")
    return delay


def _sticky(query: Query) -> int | None:
    given(query, STICKY)  # not twice
    duration_ms = query.integer(STICKY, minimum=0)
    if duration_ms is not None and duration_ms > MAX_STICKY_MS:
        raise invalid(f"`{STICKY}` must be at most {MAX_STICKY_MS}.")
    return duration_ms


def _item(stored: StoredFuture) -> dict[str, Any]:
    """A future under its old and its new field names."""
    shape = lookup_shape(stored)
    shape.pop("finalised", None)
    shape["delay"] = shape["delay_ms"]
    shape["running_since"] = shape["delayed_since_ts"]
    return shape


def _finalised_item(stored: StoredFuture) -> dict[str, Any]:
    """Text 8's shape of what became of a future."""
    outcome = stored.future.outcome
    if outcome is None:
        raise ValueError("a scheduled future is not finalised")
    item: dict[str, Any] = {
        "delayed_event": _item(stored),
        "outcome": "send" if isinstance(outcome, Sent) else "cancel",
        "reason": "delay" if outcome.cause is Cause.DELAY else "action",
        "origin_server_ts": outcome.at_wall_ms,
    }
    if isinstance(outcome, Sent):
        item["event_id"] = outcome.event_id
    elif isinstance(outcome, Failed):
        item["reason"] = "error"
        item["error"] = outcome.error.to_json()
    return item
