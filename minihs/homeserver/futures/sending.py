"""Futures become events: on command, or because their time has come.

The event, the outcome and the outbound row commit in one batch. An event that is refused ends a due future;
whoever commanded a send gets the refusal and the future stays. Futures specification, 1, promises 3, 4, 12.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.commands import SendFailed, SendPostponed, SendSucceeded, Wake
from minihs.futures.effects import Effect, Refused, SendEvent
from minihs.futures.model import Cause, Future, FutureID, MatrixError
from minihs.homeserver.errors import Unavailable
from minihs.homeserver.futures.due_times import DueTimes
from minihs.homeserver.futures.errors import FutureConflict
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.homeserver.futures.send_order import SendOrder, Turn
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.homeserver.futures.steps import FutureSteps
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.platform.logs import Logger
from minihs.store.along import Also
from minihs.store.future_rows import Payload
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch

log = Logger()

RETRY_MS = (1_000, 2_000, 4_000, 8_000, 16_000)
"""Pauses before a due send that could not be tried is tried again; then it has failed."""

NOT_SENT = MatrixError(500, "M_UNKNOWN", "The event could not be sent.")
"""The outcome when nothing better can be said."""


class Standing(msgspec.Struct, frozen=True):
    """What an account may do now: `refusal` is what `/send` would raise for it, if anything."""

    is_guest: bool = False
    refusal: Exception | None = None


class EventSender(Protocol):
    """Sends an ordinary event (`Sending.send`)."""

    async def send(self, draft: EventDraft, *, is_guest: bool = False, also: Also | None = None) -> EventID:
        """Durable when it returns."""


StandingOf = Callable[[UserID], Awaitable[Standing]]
DescribeError = Callable[[Exception], MatrixError | None]
"""A refusal as `/send` would have told it; None for what is nobody's refusal."""


class _Superseded(Exception):
    """A newer state event has ended the future while its own event was about to be made."""


class FutureSending:
    """Sends futures.

    `charge` takes one due send from its owner's budget and raises LimitExceeded when none is left.
    `admit_overdue` is asked instead about what came due while the server was away; it raises what the future
    then has failed with.
    """

    def __init__(
        self,
        *,
        store: FutureStore,
        clock: SteadyClock,
        groups: FutureGroups,
        due_times: DueTimes,
        steps: FutureSteps,
        order: SendOrder,
        sender: EventSender,
        standing_of: StandingOf,
        describe: DescribeError,
        charge: Callable[[UserID], None],
        admit_overdue: Callable[[UserID], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._groups = groups
        self._due_times = due_times
        self._steps = steps
        self._order = order
        self._sender = sender
        self._standing_of = standing_of
        self._describe = describe
        self._charge = charge
        self._admit_overdue = admit_overdue
        self._tries: dict[FutureID, int] = {}
        self._observer: Callable[[int], None] | None = None

    def observe(self, observer: Callable[[int], None]) -> None:
        """Tell one observer of every due future that is sent: how many ms after its time it was durable."""
        self._observer = observer

    async def on_command(self, live: LiveGroup, effect: SendEvent) -> None:
        """Send because somebody asked for it; raises what sending the event raises."""
        failure = await self._make(live, effect, None, overdue=False)
        if failure is not None:
            raise failure

    async def when_due(self, future_id: FutureID, *, overdue: bool = False) -> None:
        """Send what is due in the group of a future; `overdue`: since before the server started.

        May be called early, late, repeatedly, and for a future that waits no more. Events of one room get
        their places in it in the order of the calls.
        """
        turn = self._order.begin()
        try:
            await self._when_due(future_id, turn, overdue)
        finally:
            self._order.end(turn)

    async def _when_due(self, future_id: FutureID, turn: Turn, overdue: bool) -> None:
        while True:
            live = await self._groups.of_future(future_id)
            if live is None:
                self._tries.pop(future_id, None)
                return
            if live.waiting is None:
                break
            self._order.end(turn)  # what its group is doing may take long
            await live.turn()
        group, effects = self._steps.step(live, Wake(), self._clock.past())
        if not effects:
            self._wait_again(live, future_id)
            return
        effect = effects[0]
        if isinstance(effect, SendEvent):
            self._groups.update(live, group)
            await self._make(live, effect, turn, overdue=overdue)
            if effect.future.id != future_id:
                self._wait_again(live, future_id)

    async def _make(
        self, live: LiveGroup, effect: SendEvent, turn: Turn | None, *, overdue: bool
    ) -> Exception | None:
        """Make the event; None, or why not. The group hears of it either way."""
        live.begin()
        try:
            return await self._try(live, effect, turn, overdue)
        finally:
            live.end()

    async def _try(
        self, live: LiveGroup, effect: SendEvent, turn: Turn | None, overdue: bool
    ) -> Exception | None:
        future = effect.future
        written: list[Effect] = []

        def also(batch: Batch, event: Event) -> None:
            written.extend(self._succeeded(live, future, event.event_id, batch))
            if turn is not None:
                self._order.end(turn)

        live.pending += 1
        try:
            admit = self._admit_overdue if overdue else self._charge
            admit(future.owner)
            event_id = await self._send(future, turn, also)
        except _Superseded:
            live.pending -= 1
            ended = live.group.member(future.id)
            return FutureConflict(None if ended is None else ended.outcome)
        except Exception as failure:  # noqa: BLE001 - every outcome of a send is an outcome of the future
            live.pending -= 1
            if written:  # it was on its way to the disk and did not get there
                await self._steps.forget(live)
                if effect.cause is Cause.DELAY:
                    self._again_later(future)
                return failure
            return await self._refused(live, effect, failure)
        live.pending -= 1
        self._tries.pop(future.id, None)
        if written:
            self._steps.durable(live, written)
            if self._observer is not None and effect.cause is Cause.DELAY and future.due_ms is not None:
                self._observer(self._clock.passed_ms() - future.due_ms)
            return None
        return await self._without_event(live, future, event_id)

    async def _send(self, future: Future, turn: Turn | None, also: Also) -> EventID:
        payload = await self._store.one_payload(future.id)
        standing = await self._standing_of(future.owner)
        if standing.refusal is not None:
            raise standing.refusal
        if turn is not None:
            await self._order.come(turn, RoomID(future.room_id))
        return await self._sender.send(draft_of(future, payload), is_guest=standing.is_guest, also=also)

    def _succeeded(
        self, live: LiveGroup, future: Future, event_id: EventID, batch: Batch
    ) -> tuple[Effect, ...]:
        group, effects = self._steps.step(live, SendSucceeded(future.id, event_id))
        if isinstance(effects[0], Refused):
            raise _Superseded
        self._steps.write(live, group, effects, batch)
        return effects

    async def _without_event(self, live: LiveGroup, future: Future, event_id: EventID) -> Exception | None:
        """The room already was as the event would have made it (a join of somebody who is joined)."""
        batch = Batch()
        try:
            effects = self._succeeded(live, future, event_id, batch)
        except _Superseded:
            return None
        await self._steps.commit(live, batch, effects)
        return None

    async def _refused(self, live: LiveGroup, effect: SendEvent, failure: Exception) -> Exception | None:
        future = effect.future
        error = None if isinstance(failure, Unavailable) else self._describe(failure)
        if error is None and effect.cause is Cause.DELAY:
            if not isinstance(failure, Unavailable):
                log.error("a due event could not be sent: {problem}", problem=repr(failure))
            if self._tries.get(future.id, 0) >= len(RETRY_MS):
                error = self._describe(failure) or NOT_SENT
        if error is None:
            group, _ = self._steps.step(live, SendPostponed(future.id))
            self._groups.update(live, group)
            if effect.cause is Cause.DELAY:
                self._again_later(future)
            return failure
        self._tries.pop(future.id, None)
        group, effects = self._steps.step(live, SendFailed(future.id, error))
        if isinstance(effects[0], Refused):
            return failure
        batch = Batch()
        self._steps.write(live, group, effects, batch)
        if effect.cause is Cause.DELAY:
            await self._steps.commit(live, batch, effects)
        return failure

    def _wait_again(self, live: LiveGroup, future_id: FutureID) -> None:
        member = live.group.member(future_id)
        if member is not None and member.due_ms is not None:
            self._due_times.set(member.due_ms, future_id)

    def _again_later(self, future: Future) -> None:
        tries = self._tries.get(future.id, 0)
        self._tries[future.id] = tries + 1
        pause_ms = RETRY_MS[min(tries, len(RETRY_MS) - 1)]
        self._due_times.again(self._clock.passed_ms() + pause_ms, future.id)


def draft_of(future: Future, payload: Payload) -> EventDraft:
    """The event that a future is to become."""
    return EventDraft(
        room_id=RoomID(future.room_id),
        sender=future.owner,
        type=future.type,
        content=payload.content,
        state_key=future.state_key,
        origin_server_ts=payload.origin_server_ts,
        sticky_duration_ms=payload.sticky_duration_ms,
        delay_id=future.delay_id if future.reveals_id else None,
        was_future=True,
    )
