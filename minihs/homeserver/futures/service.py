"""Futures as their owners command them: schedule, restart, send, cancel, look up.

Whoever asks is answered when the outcome is durable. What a command does is decided in `futures.engine`.
Futures specification, section 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.futures.commands import Cancel, CancelAll, Command, Restart, Schedule, Send
from minihs.futures.effects import AlreadySo, Effect, Refusal, Refused, SendEvent, Stored
from minihs.futures.model import Cause, Future, FutureGroup, FutureID, GroupID, Millis
from minihs.futures.policies import FutureLimits
from minihs.homeserver.errors import HomeserverError, UnknownRoom
from minihs.homeserver.futures.errors import (
    DelayTooLarge,
    ForeignGroup,
    FutureConflict,
    NoTimeoutInGroup,
    NotRestartable,
    SchedulingForbidden,
    TokenSpent,
    TokenUnknown,
    TooManyScheduled,
    UnknownFuture,
)
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.homeserver.futures.orders import FutureOrder, check_order
from minihs.homeserver.futures.retention import FutureRetention
from minihs.homeserver.futures.sending import FutureSending
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.homeserver.futures.steps import FutureSteps
from minihs.homeserver.futures.tokens import FutureTokens
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.store.future_rows import Payload, StoredFuture
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, Writer

ID_BYTES = 24
DEACTIVATION_STEP = 100
"""Groups that are cancelled in one batch."""

Recorder = Callable[[Batch, "Scheduled"], None]
"""Adds rows that are stored with new futures or not at all."""


class Scheduled(msgspec.Struct, frozen=True):
    """What was scheduled, and the name of its group if it has one."""

    futures: tuple[Future, ...]
    group_name: str | None


class Futures:
    """The futures of this server's users.

    `load` before use. Refusals are the classes of `future_errors`, and what sending an event raises.
    """

    def __init__(
        self,
        *,
        server_name: ServerName,
        store: FutureStore,
        writer: Writer,
        entropy: Entropy,
        clock: SteadyClock,
        groups: FutureGroups,
        steps: FutureSteps,
        sending: FutureSending,
        tokens: FutureTokens,
        retention: FutureRetention,
        rooms: Rooms,
        limits: FutureLimits,
    ) -> None:
        self._server_name = server_name
        self._store = store
        self._writer = writer
        self._entropy = entropy
        self._clock = clock
        self._groups = groups
        self._steps = steps
        self._sending = sending
        self._tokens = tokens
        self._retention = retention
        self._rooms = rooms
        self._limits = limits
        self._last_id = FutureID(0)
        self._arriving: dict[UserID, int] = {}

    async def load(self) -> None:
        """Read what must be in memory before the first command."""
        await self._clock.load()
        await self._tokens.load(self._entropy, self._writer)
        self._last_id = await self._store.last_id()
        await self._groups.load()

    # Commands of owners

    async def schedule(
        self, orders: Sequence[FutureOrder], *, group: str | None = None, record: Recorder | None = None
    ) -> Scheduled:
        """Store futures of one owner in one group, all or none, and start their timers.

        `group` names a group that may exist; without it a new one is made. `record` adds rows to the batch.
        """
        owner = orders[0].owner
        for order in orders:
            await self._check(order)
        self._arriving[owner] = self._arriving.get(owner, 0) + len(orders)
        try:
            await self._check_count(owner)
            live, is_new = await self._group_for(owner, group)
            return await self._store_new(live, is_new, orders, record)
        finally:
            self._arriving[owner] -= len(orders)
            if not self._arriving[owner]:
                del self._arriving[owner]

    async def restart(self, delay_id: str, owner: UserID | None = None) -> None:
        """Start the timer again. `owner` None: the ID is all the authority that is asked for."""
        live, future = await self._at_rest(delay_id, owner)
        await self._run(live, Restart(future.id))

    async def cancel(self, delay_id: str, owner: UserID | None = None) -> None:
        """Give the future up; no error when it is cancelled or has failed."""
        live, future = await self._at_rest(delay_id, owner)
        await self._run(live, Cancel(future.id))

    async def send(self, delay_id: str, owner: UserID | None = None) -> None:
        """Send the future now; no error when it was sent. Raises what sending the event would raise."""
        live, future = await self._at_rest(delay_id, owner)
        group, effects = self._steps.step(live, Send(future.id))
        if isinstance(effects[0], SendEvent):
            self._groups.update(live, group)
            await self._sending.on_command(live, effects[0])
        else:
            await self._answer(live, effects[0])

    async def redeem(self, token: str) -> tuple[Future, str]:
        """The future and the purpose of a token; TokenUnknown, or TokenSpent when the future is finalised."""
        found = await self._store.maybe_token(token)
        if found is None or not self._tokens.matches(token, found.row.future.delay_id, found.purpose):
            raise TokenUnknown
        if found.row.future.outcome is not None:
            raise TokenSpent
        return found.row.future, found.purpose

    def token(self, delay_id: str, purpose: str) -> str:
        """The token of a future for a purpose that its order named."""
        return self._tokens.derive(delay_id, purpose)

    async def cancel_all(self, owner: UserID) -> None:
        """Give up everything of a user who is deactivated."""
        while group_ids := await self._store.all_groups_of(owner, DEACTIVATION_STEP):
            for group_id in group_ids:
                live = await self._groups.one(group_id)
                while live is not None and live.waiting is not None:
                    await live.turn()
                    live = await self._groups.one(group_id)
                if live is not None:
                    await self._run(live, CancelAll(Cause.ACCOUNT))

    # Reading

    async def lookup(self, delay_id: str, owner: UserID) -> StoredFuture:
        """One future of the owner, scheduled or still kept; UnknownFuture otherwise."""
        stored = await self._store.maybe_stored(delay_id)
        if stored is None or stored.future.owner != owner or not self._retention.keeps(stored.future):
            raise UnknownFuture
        return stored

    async def scheduled(
        self, owner: UserID, dialects: Sequence[str], *, after: tuple[int, int] = (-1, -1), limit: int = -1
    ) -> list[StoredFuture]:
        """The owner's scheduled futures of some dialects in order of due time, behind a (due, ID)."""
        return await self._store.all_scheduled(owner, dialects, after, limit)

    async def finalised(
        self,
        owner: UserID,
        dialects: Sequence[str],
        *,
        before: tuple[int, int] = (2**62, 0),
        limit: int = -1,
    ) -> list[StoredFuture]:
        """The owner's kept finalised futures of some dialects, the latest first, before a (moment, ID)."""
        found = await self._store.all_finalised(owner, dialects, before, limit)
        return [stored for stored in found if self._retention.keeps(stored.future)]

    # Inside

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

    async def _check_count(self, owner: UserID) -> None:
        max_scheduled = self._limits.max_scheduled
        if max_scheduled is None:
            return
        # What is on its way was counted before the store was asked, so that none slips through between.
        stored = await self._store.scheduled_count(owner)
        if stored + self._arriving[owner] > max_scheduled:
            due_ms = await self._store.maybe_next_due(owner)
            wait_ms = 1 if due_ms is None else max(1, math.ceil(self._clock.wait_ms(due_ms)))
            raise TooManyScheduled(
                f"You have {stored} delayed events scheduled; the maximum is {max_scheduled}.", wait_ms
            )

    async def _group_for(self, owner: UserID, name: str | None) -> tuple[LiveGroup, bool]:
        live = None
        while name is not None:
            live = await self._groups.named(name)
            if live is None or live.waiting is None:
                break
            await live.turn()
        if live is None:
            return LiveGroup(FutureGroup(GroupID(self._last_id + 1), owner, name)), True
        if live.group.owner != owner:
            raise ForeignGroup
        return live, False

    async def _store_new(
        self, live: LiveGroup, is_new: bool, orders: Sequence[FutureOrder], record: Recorder | None
    ) -> Scheduled:
        group, effects = self._steps.step(live, Schedule(tuple(map(self._future, orders))))
        if isinstance(effects[0], Refused):
            raise _as_error(effects[0])
        batch = Batch()
        futures = []
        for effect, order in zip(effects, orders, strict=True):
            if isinstance(effect, Stored):
                futures.append(effect.future)
                self._store.add(batch, effect.future, group, _payload(order))
                for purpose in order.tokens:
                    token = self.token(effect.future.delay_id, purpose)
                    self._store.add_token(batch, token, effect.future.id, purpose)
        self._steps.write(live, group, effects, batch)
        if is_new:
            self._groups.add(live)
        scheduled = Scheduled(tuple(futures), group.name)
        if record is not None:
            record(batch, scheduled)
        await self._steps.commit(live, batch, effects)
        return scheduled

    def _future(self, order: FutureOrder) -> Future:
        self._last_id = FutureID(self._last_id + 1)
        return Future(
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
        )

    async def _at_rest(self, delay_id: str, owner: UserID | None) -> tuple[LiveGroup, Future]:
        """The future and its group, with no send under way; no control is given away on return."""
        while True:
            live = self._groups.loaded(delay_id)
            if live is None:
                row = await self._store.maybe_future(delay_id)
                if row is None or owner not in (None, row.future.owner):
                    raise UnknownFuture
                if row.future.outcome is not None:
                    if not self._retention.keeps(row.future):
                        raise UnknownFuture
                    group = FutureGroup(row.group_id, row.future.owner, row.group_name, (row.future,))
                    return LiveGroup(group), row.future
                await self._groups.one(row.group_id)
            elif owner not in (None, live.group.owner):
                raise UnknownFuture
            elif live.waiting is not None:
                await live.turn()
            else:
                for future in live.group.members:
                    if future.delay_id == delay_id:
                        return live, future
                raise UnknownFuture

    async def _run(self, live: LiveGroup, command: Command) -> None:
        group, effects = self._steps.step(live, command)
        if effects and isinstance(effects[0], AlreadySo | Refused):
            await self._answer(live, effects[0])
            return
        batch = Batch()
        self._steps.write(live, group, effects, batch)
        await self._steps.commit(live, batch, effects)

    async def _answer(self, live: LiveGroup, effect: Effect) -> None:
        if live.pending:  # what the answer rests on may still be on its way to the disk
            await self._steps.commit(live, Batch(), ())
        if isinstance(effect, Refused):
            raise _as_error(effect)


def _payload(order: FutureOrder) -> Payload:
    return Payload(
        content=order.content,
        sticky_duration_ms=order.sticky_duration_ms,
        origin_server_ts=order.origin_server_ts,
        request=order.request,
    )


def _as_error(refused: Refused) -> HomeserverError:
    match refused.reason:
        case Refusal.CONTRADICTS_OUTCOME:
            return FutureConflict(refused.outcome)
        case Refusal.NO_TIMER:
            return NotRestartable()
        case Refusal.NO_TIMEOUT_IN_GROUP:
            return NoTimeoutInGroup()
        case Refusal.NOT_THE_OWNER:
            return ForeignGroup()
        case Refusal.UNKNOWN:
            return UnknownFuture()
    raise RuntimeError(f"a step was refused that should not have been tried: {refused.reason}")


__all__ = ["FutureOrder", "Futures", "Scheduled"]
