"""Futures as their owners command them: schedule, restart, send, cancel, look up.

Whoever asks is answered when the outcome is durable. What a command does is decided in `futures.engine`.
Futures specification, section 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.ids import UserID
from minihs.futures.commands import Cancel, CancelAll, Command, Restart, Send
from minihs.futures.effects import AlreadySo, Effect, Refused, SendEvent
from minihs.futures.model import Cause, Future
from minihs.homeserver.futures.errors import (
    FutureConflict,
    TokenSpent,
    TokenUnknown,
    UnknownFuture,
    UnknownPart,
    as_error,
)
from minihs.homeserver.futures.finding import FutureFinder
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.retention import FutureRetention
from minihs.homeserver.futures.scheduling import FutureScheduling, OrdersFor, Recorder, Scheduled
from minihs.homeserver.futures.sending import FutureSending
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.homeserver.futures.steps import FutureSteps
from minihs.homeserver.futures.tokens import FutureTokens
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.platform.entropy import Entropy
from minihs.store.future_rows import StoredFuture
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, Writer

__all__ = ["FutureOrder", "Futures", "Scheduled"]

DEACTIVATION_STEP = 100
"""Groups that are cancelled in one batch."""


class Futures:
    """The futures of this server's users.

    `load` before use. Refusals are the classes of `futures.errors`, and what sending an event raises.
    """

    def __init__(
        self,
        *,
        store: FutureStore,
        writer: Writer,
        entropy: Entropy,
        clock: SteadyClock,
        groups: FutureGroups,
        finder: FutureFinder,
        steps: FutureSteps,
        scheduling: FutureScheduling,
        sending: FutureSending,
        tokens: FutureTokens,
        retention: FutureRetention,
    ) -> None:
        self._store = store
        self._writer = writer
        self._entropy = entropy
        self._clock = clock
        self._groups = groups
        self._finder = finder
        self._steps = steps
        self._scheduling = scheduling
        self._sending = sending
        self._tokens = tokens
        self._retention = retention

    async def load(self) -> None:
        """Read what must be in memory before the first command."""
        await self._clock.load()
        await self._tokens.load(self._entropy, self._writer)
        await self._scheduling.load()
        await self._groups.load()

    # Commands of owners

    async def schedule(
        self,
        orders: Sequence[FutureOrder],
        *,
        group: str | None = None,
        beside: str | None = None,
        record: Recorder | None = None,
    ) -> Scheduled:
        """Store futures in one group; see `FutureScheduling.schedule`."""
        return await self._scheduling.schedule(orders, group=group, beside=beside, record=record)

    async def schedule_beside(
        self, draft: EventDraft, orders: OrdersFor, *, is_guest: bool = False, record: Recorder | None = None
    ) -> Scheduled:
        """Send an event and store futures with it; see `FutureScheduling.schedule_beside`."""
        return await self._scheduling.schedule_beside(draft, orders, is_guest=is_guest, record=record)

    async def restart(self, delay_id: str, owner: UserID | None = None) -> None:
        """Start the timer again. `owner` None: the ID is all the authority that is asked for."""
        live, future = await self._finder.at_rest(delay_id, owner)
        await self._run(live, Restart(future.id))

    async def cancel(
        self, delay_id: str, owner: UserID | None = None, *, cause: Cause = Cause.ACTION
    ) -> None:
        """Give the future up; no error when it is cancelled or has failed."""
        live, future = await self._finder.at_rest(delay_id, owner)
        await self._run(live, Cancel(future.id, cause))

    async def send(self, delay_id: str, owner: UserID | None = None) -> None:
        """Send the future now; no error when it was sent. Raises what sending the event would raise."""
        live, future = await self._finder.at_rest(delay_id, owner)
        group, effects = self._steps.step(live, Send(future.id))
        if isinstance(effects[0], SendEvent):
            self._groups.update(live, group)
            await self._sending.on_command(live, effects[0])
        else:
            await self._answer(live, effects[0])

    async def send_part(self, delay_id: str, part: str) -> None:
        """Send the scheduled member of the future's group that its dialect calls `part`.

        UnknownPart when there never was one; UnknownFuture or FutureConflict when the future is finalised.
        """
        live, future = await self._finder.at_rest(delay_id, None)
        if future.outcome is not None:
            raise FutureConflict(future.outcome)
        member = live.group.part(part)
        if member is None:
            raise UnknownPart(part)
        await self.send(member.delay_id)

    async def redeem(self, token: str) -> tuple[Future, str]:
        """The future and the purpose of a token; TokenUnknown, or TokenSpent when the future is finalised."""
        found = await self._store.maybe_token(token)
        if found is None or not self._tokens.matches(token, found.row.future.delay_id, found.purpose):
            raise TokenUnknown
        if found.row.future.outcome is not None:
            raise TokenSpent(found.row.future.delay_id)
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
        live = self._groups.loaded(delay_id)
        if live is not None and live.pending and live.group.owner == owner:
            # An outcome may be on the disk while its event is not yet shown: it is told afterwards.
            await self._steps.commit(live, Batch(), ())
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

    async def news(self, owner: UserID, dialects: Sequence[str], after: int, upto: int) -> list[StoredFuture]:
        """The owner's kept futures of some dialects that were sent or failed, behind one position of the
        stream of outcomes and up to another, in that order."""
        found = await self._store.all_news(owner, dialects, after, upto)
        return [stored for stored in found if self._retention.keeps(stored.future)]

    # Inside

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
            raise as_error(effect)
