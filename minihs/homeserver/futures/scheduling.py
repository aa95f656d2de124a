"""Scheduling: what is checked before a future is stored, and how it gets there, alone or beside an event.

Which futures make a group is decided in `futures.engine`. Futures specification, 1, promises 4 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.futures.commands import Schedule
from minihs.futures.effects import Effect, Refused, Stored
from minihs.futures.model import Future, FutureGroup, FutureID, GroupID, Millis
from minihs.futures.policies import CancelRuling, FutureLimits, as_its_dialect_says
from minihs.homeserver.errors import InvalidParam, UnknownRoom
from minihs.homeserver.futures.errors import (
    DelayTooLarge,
    ForeignGroup,
    SchedulingForbidden,
    TooManyScheduled,
    UnknownFuture,
    as_error,
)
from minihs.homeserver.futures.finding import FutureFinder
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.homeserver.futures.orders import FutureOrder, check_order
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.homeserver.futures.steps import FutureSteps
from minihs.homeserver.futures.tokens import FutureTokens
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.platform.lanes import Lanes
from minihs.store.future_rows import Payload
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch

ID_BYTES = 24

ANY_EVENT_ID = EventID("$" + "x" * 43)
"""As long as any event ID of the supported room versions."""

Recorder = Callable[[Batch, "Scheduled"], None]
"""Adds rows that are stored with new futures or not at all."""

OrdersFor = Callable[[EventID], Sequence[FutureOrder]]
"""The futures to schedule beside an event, which may refer to it; the same number for every event ID."""

Admission = Callable[[FutureOrder], Awaitable[None]]
"""Raises what stands against scheduling an event now."""


MAX_CLAIMS = 1_000
"""Requests of one user that may wait for their share of the maximum to be counted."""


class Scheduled(msgspec.Struct, frozen=True):
    """What was scheduled, the name of its group if it has one, and the event that was sent with it."""

    futures: tuple[Future, ...]
    group_name: str | None
    event_id: EventID | None = None


class FutureScheduling:
    """Takes futures in. `load` before use."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        store: FutureStore,
        entropy: Entropy,
        clock: SteadyClock,
        groups: FutureGroups,
        finder: FutureFinder,
        steps: FutureSteps,
        sender: EventSender,
        tokens: FutureTokens,
        rooms: Rooms,
        limits: FutureLimits,
        admission: Admission | None = None,
        cancel_ruling: CancelRuling = as_its_dialect_says,
    ) -> None:
        self._server_name = server_name
        self._store = store
        self._entropy = entropy
        self._clock = clock
        self._groups = groups
        self._finder = finder
        self._steps = steps
        self._sender = sender
        self._tokens = tokens
        self._rooms = rooms
        self._limits = limits
        self._admission = admission
        self._cancel_ruling = cancel_ruling
        self._last_id = FutureID(0)
        self._arriving: dict[UserID, int] = {}
        self._given_back = 0
        self._claims: Lanes[UserID] = Lanes(MAX_CLAIMS)

    async def load(self) -> None:
        """Go on behind the IDs that were given."""
        self._last_id = await self._store.last_id()

    async def schedule(
        self,
        orders: Sequence[FutureOrder],
        *,
        group: str | None = None,
        beside: str | None = None,
        record: Recorder | None = None,
    ) -> Scheduled:
        """Store futures of one owner in one group, all or none, and start their timers.

        `group` names a group that may exist; `beside` is the delay ID of a scheduled member of one that must
        (UnknownFuture, ForeignGroup). Without either a new one is made. `record` adds rows to the batch.
        """

        async def store() -> Scheduled:
            if beside is None:
                live, is_new = await self._group_for(orders[0].owner, group)
            else:
                live, is_new = await self._group_of(orders[0].owner, beside), False
            return await self._store_new(live, is_new, orders, record)

        return await self._admit(orders, store)

    async def schedule_beside(
        self, draft: EventDraft, orders: OrdersFor, *, is_guest: bool = False, record: Recorder | None = None
    ) -> Scheduled:
        """Send an event at once and store futures in a new group, together or not at all.

        Raises what sending the event and `schedule` raise. Where nothing is sent because the room already is
        as the event would make it (a join of who is joined), the futures are stored alone.
        """
        live: LiveGroup | None = None
        effects: tuple[Effect, ...] = ()
        scheduled = Scheduled((), None)

        def also(batch: Batch, event: Event) -> None:
            nonlocal live, effects, scheduled
            live = self._new_group(draft.sender, None)
            live.born_with = event.event_id
            live.pending += 1
            effects, scheduled = self._write_new(live, True, orders(event.event_id), batch, event.event_id)
            if record is not None:
                record(batch, scheduled)

        async def send() -> Scheduled:
            try:
                event_id = await self._sender.send(draft, is_guest=is_guest, also=also)
            except Exception:
                if live is not None:  # it was on its way to the disk and did not get there
                    live.pending -= 1
                    await self._steps.forget(live)
                raise
            if live is None:
                group = self._new_group(draft.sender, None)
                return await self._store_new(group, True, orders(event_id), record, event_id)
            live.pending -= 1
            self._steps.durable(live, effects)
            return scheduled

        return await self._admit(orders(ANY_EVENT_ID), send)

    # Inside

    async def _admit(
        self, orders: Sequence[FutureOrder], store: Callable[[], Awaitable[Scheduled]]
    ) -> Scheduled:
        """Check what can be checked before anything is stored, and keep the owner's share meanwhile."""
        owner = orders[0].owner
        for order in orders:
            await self._check(order)
        most = self._limits.max_scheduled
        if most is not None and len(orders) > most:  # no waiting would help
            raise InvalidParam(f"These are {len(orders)} delayed events at once; a user may have {most}.")
        # One after another, so that requests that come together do not refuse each other.
        await self._claims.run(owner, lambda: self._claim(owner, len(orders)))
        try:
            return await store()
        finally:
            self._give_back(owner, len(orders))

    async def _claim(self, owner: UserID, count: int) -> None:
        self._arriving[owner] = self._arriving.get(owner, 0) + count
        try:
            await self._check_count(owner, count)
        except BaseException:
            self._give_back(owner, count)
            raise

    def _give_back(self, owner: UserID, count: int) -> None:
        self._given_back += 1
        self._arriving[owner] -= count
        if not self._arriving[owner]:
            del self._arriving[owner]

    async def _check(self, order: FutureOrder) -> None:
        limits = self._limits
        if limits.max_scheduled == 0:
            raise SchedulingForbidden("This server takes no delayed events.")
        if (
            order.timeout_ms is not None
            and limits.max_delay_ms is not None
            and order.timeout_ms > limits.max_delay_ms
        ):
            raise DelayTooLarge(limits.max_delay_ms)
        check_order(order, self._server_name)
        try:
            state = await self._rooms.current_state(RoomID(order.room_id))
        except UnknownRoom:
            state = None
        if state is None or ("m.room.member", order.owner) not in state:
            raise SchedulingForbidden("You have never been in this room, or this server does not know it.")
        if self._admission is not None:
            await self._admission(order)

    async def _check_count(self, owner: UserID, count: int) -> None:
        max_scheduled = self._limits.max_scheduled
        if max_scheduled is None:
            return
        # What is on its way was counted before the store was asked, so that none slips through between.
        while True:
            given_back = self._given_back
            stored = await self._store.scheduled_count(owner)
            if given_back == self._given_back:
                break  # else what has become stored meanwhile might be in neither number
        taken = stored + self._arriving[owner] - count
        if taken + count > max_scheduled:
            due_ms = await self._store.maybe_next_due(owner)
            wait_ms = 1 if due_ms is None else max(1, math.ceil(self._clock.wait_ms(due_ms)))
            raise TooManyScheduled(
                f"You have {taken} delayed events scheduled; the maximum is {max_scheduled}.", wait_ms
            )

    async def _group_for(self, owner: UserID, name: str | None) -> tuple[LiveGroup, bool]:
        live = None
        while name is not None:
            live = await self._groups.named(name)
            if live is None or live.waiting is None:
                break
            await live.turn()
        if live is None:
            return self._new_group(owner, name), True
        if live.group.owner != owner:
            raise ForeignGroup
        return live, False

    async def _group_of(self, owner: UserID, delay_id: str) -> LiveGroup:
        """The group of a scheduled future, of which no event is being made."""
        live, future = await self._finder.at_rest(delay_id, None)
        if future.owner != owner:
            raise ForeignGroup
        if future.outcome is not None:
            raise UnknownFuture
        return live

    def _new_group(self, owner: UserID, name: str | None) -> LiveGroup:
        return LiveGroup(FutureGroup(GroupID(self._last_id + 1), owner, name))

    async def _store_new(
        self,
        live: LiveGroup,
        is_new: bool,
        orders: Sequence[FutureOrder],
        record: Recorder | None,
        event_id: EventID | None = None,
    ) -> Scheduled:
        batch = Batch()
        effects, scheduled = self._write_new(live, is_new, orders, batch, event_id)
        if record is not None:
            record(batch, scheduled)
        await self._steps.commit(live, batch, effects)
        return scheduled

    def _write_new(
        self,
        live: LiveGroup,
        is_new: bool,
        orders: Sequence[FutureOrder],
        batch: Batch,
        event_id: EventID | None,
    ) -> tuple[tuple[Effect, ...], Scheduled]:
        """Take the step into memory and into `batch`, without giving control away."""
        group, effects = self._steps.step(live, Schedule(tuple(map(self._future, orders))))
        if isinstance(effects[0], Refused):
            raise as_error(effects[0])
        futures = []
        for effect, order in zip(effects, orders, strict=True):
            if isinstance(effect, Stored):
                futures.append(effect.future)
                self._store.add(batch, effect.future, group, _payload(order))
                for purpose in order.tokens:
                    token = self._tokens.derive(effect.future.delay_id, purpose)
                    self._store.add_token(batch, token, effect.future.id, purpose)
        self._steps.write(live, group, effects, batch)
        if is_new:
            self._groups.add(live)
        return effects, Scheduled(tuple(futures), group.name, event_id)

    def _future(self, order: FutureOrder) -> Future:
        self._last_id = FutureID(self._last_id + 1)
        future = Future(
            id=self._last_id,
            delay_id=token_urlsafe(self._entropy, ID_BYTES),
            owner=order.owner,
            room_id=order.room_id,
            type=order.type,
            state_key=order.state_key,
            timeout_ms=order.timeout_ms,
            started_ms=Millis(0),
            since_ts=0,
            cancel_rule=order.cancel_rule,
            dialect=order.dialect,
            reveals_id=order.reveals_id,
            part=order.part,
            bound_to=order.bound_to,
        )
        return self._cancel_ruling(future)


def _payload(order: FutureOrder) -> Payload:
    return Payload(
        content=order.content,
        sticky_duration_ms=order.sticky_duration_ms,
        origin_server_ts=order.origin_server_ts,
        request=order.request,
    )
