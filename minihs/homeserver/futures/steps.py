"""Steps of groups become rows, and rows become durable: what commands, sends and state changes share.

Memory runs ahead of the disk: a step is taken at once, its batch is submitted before control is given away.
When a batch fails, the group is read again. Futures specification, 1, promise 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.commands import Command, StateChanged
from minihs.futures.effects import Effect, Finalised, Stored, TimerStarted
from minihs.futures.engine import Step, step
from minihs.futures.model import FutureGroup, FutureID, Now
from minihs.futures.policies import CancelPolicy, by_cancel_rule
from minihs.homeserver.errors import Unavailable
from minihs.homeserver.futures.due_times import DueTimes
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.homeserver.futures.retention import FutureRetention
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.platform.logs import Logger
from minihs.rooms.state_map import StateChange
from minihs.store.futures import FutureStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch, BatchFailed, Writer

log = Logger()

NOBODY = UserID("")
"""Who has set what is not set any more."""

SLOTS_AT_ONCE = 100
"""Changes of state looked at before others get their turn: each may cost a read, and who joins a large room
sees thousands."""

SenderOf = Callable[[EventID], Awaitable[UserID | None]]
"""The sender of an event; None when it is not here."""


class FutureSteps:
    """Takes steps and keeps memory, disk and timers together.

    It observes rooms (`Rooms.observe`, and `Rooms.prepare_state` with `before_state`). Each outcome has its
    place in the stream `outcomes`; `announce` is called with the owner when one is durable. `sender_of` looks
    an event up; `pause` lets others have a turn.
    """

    def __init__(
        self,
        *,
        store: FutureStore,
        writer: Writer,
        clock: SteadyClock,
        groups: FutureGroups,
        due_times: DueTimes,
        retention: FutureRetention,
        outcomes: Stream,
        announce: Callable[[UserID], None],
        sender_of: SenderOf,
        pause: Callable[[], Awaitable[None]],
        cancels: CancelPolicy = by_cancel_rule,
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._groups = groups
        self._due_times = due_times
        self._retention = retention
        self._outcomes = outcomes
        self._announce = announce
        self._sender_of = sender_of
        self._pause = pause
        self._positions: dict[FutureID, int] = {}
        self._cancels = cancels
        self._riding: dict[EventID, list[tuple[LiveGroup, tuple[Effect, ...]]]] = {}

    def step(self, live: LiveGroup, command: Command, now: Now | None = None) -> Step:
        """What `command` would do now; nothing is changed."""
        return step(live.group, command, now or self._clock.now(), cancels=self._cancels)

    def write(self, live: LiveGroup, group: FutureGroup, effects: Sequence[Effect], batch: Batch) -> None:
        """Take a step: the group moves on in memory, its rows go into `batch`, which must be submitted before
        control is given away."""
        self._groups.update(live, group)
        for effect in effects:
            if isinstance(effect, TimerStarted):
                self._store.restart(batch, effect.future)
            elif isinstance(effect, Finalised):
                position = self._positions[effect.future.id] = self._outcomes.allocate()
                self._store.finalise(batch, effect.future, position)
                self._groups.ended(live, effect.future)
        self._clock.note(batch)

    async def commit(self, live: LiveGroup, batch: Batch, effects: Sequence[Effect]) -> None:
        """Submit a batch of one group and return when it is durable; Unavailable when it was not stored."""
        live.pending += 1
        try:
            await self._writer.submit(batch, f"future {live.group.id}")
        except BatchFailed as failure:
            live.pending -= 1
            await self.forget(live)
            raise Unavailable("The delayed event could not be stored. Please try again.") from failure
        live.pending -= 1
        self.durable(live, effects)

    def durable(self, live: LiveGroup, effects: Sequence[Effect]) -> None:
        """The rows of a step are durable: timers follow."""
        for effect in effects:
            if isinstance(effect, TimerStarted | Stored):
                if effect.future.due_ms is not None:
                    self._due_times.set(effect.future.due_ms, effect.future.id)
            elif isinstance(effect, Finalised):
                self._due_times.discard(effect.future.id)
                self._retention.finalised(effect.future.owner)
                self._outcomes.committed(self._positions.pop(effect.future.id, 0))
                self._announce(effect.future.owner)
        self._groups.settle(live)

    async def forget(self, live: LiveGroup) -> None:
        """The memory of a group is wrong: go on with what is stored."""
        self._groups.drop(live)
        again = await self._groups.one(live.group.id)
        if again is not None:
            for future in again.group.members:
                if future.due_ms is not None:
                    self._due_times.set(future.due_ms, future.id)

    # Rooms tell of their events

    def before_state(self, room_id: RoomID, event_type: str, state_key: str) -> Awaitable[None] | None:
        """What must be read before a state event may get its place; None when nothing."""
        return self._groups.reading((room_id, event_type, state_key))

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """A new state event ends futures, in its own batch: it wins against timers and sends not yet made.

        One that does not get to be the room's current state (another server's, made beside ours, which stays)
        is no newer state.
        """
        if event.state_key is None or not any(change.new == event.event_id for change in changes):
            return
        change = StateChanged(event.room_id, event.type, event.state_key, event.sender)
        for live in self._groups.on_slot((event.room_id, event.type, event.state_key)):
            if live.born_with == event.event_id:
                continue
            group, effects = self.step(live, change)
            if effects:
                self.write(live, group, effects, batch)
                live.pending += 1
                self._riding.setdefault(event.event_id, []).append((live, effects))

    def event_committed(self, committed: CommittedEvent) -> None:
        """What the event ended is durable; what else it changed in the room's state ends futures, too."""
        for live, effects in self._riding.pop(committed.event.event_id, ()):
            live.pending -= 1
            self.durable(live, effects)
        event = committed.event
        others = [change for change in committed.state_changes if change.new != event.event_id]
        if others:
            ending = Deferred.fromCoroutine(self._state_moved(event.room_id, others))
            ending.addErrback(lambda failure: log.failure("ending delayed events failed", failure))

    def event_failed(self, event: Event) -> None:
        """Nothing was ended after all."""
        for live, _ in self._riding.pop(event.event_id, ()):
            live.pending -= 1
            forgetting = Deferred.fromCoroutine(self.forget(live))
            forgetting.addErrback(lambda failure: log.failure("reading a group again failed", failure))

    async def _state_moved(self, room_id: RoomID, changes: Sequence[StateChange]) -> None:
        """State that was changed by no event of its own: by a resolution, or because we were away."""
        for number, change in enumerate(changes, start=1):
            if number % SLOTS_AT_ONCE == 0:
                await self._pause()
            slot = (room_id, *change.key)
            while reading := self._groups.reading(slot):
                await reading
            if not self._groups.on_slot(slot):
                continue
            sender = None if change.new is None else await self._sender_of(change.new)
            moved = StateChanged(room_id, *change.key, sender or NOBODY)
            for live in self._groups.on_slot(slot):
                if change.new is not None and live.born_with == change.new:
                    continue
                group, effects = self.step(live, moved)
                if effects:
                    batch = Batch()
                    self.write(live, group, effects, batch)
                    await self.commit(live, batch, effects)
