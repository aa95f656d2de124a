"""Purging: what is stored of a room goes when every user of this server has left and forgotten it.

It waits for a while, because the last leave must reach others; then the room is unknown from one batch on,
and its rows go in slices. A restart carries on. Nobody enters a room while it is going.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.errors import StillInRoom, Unavailable, UnknownRoom
from minihs.homeserver.rooms.memory import RoomMemories
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger
from minihs.store.events import EventStore
from minihs.store.purges import Needed, PurgeRow, PurgeStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch, BatchFailed, Writer, WriterStopped

log = Logger()

TRY_AGAIN_MS = 3_600_000
"""When a room that a future or a join under way keeps is looked at again."""

_REASONS: dict[Needed, str] = {
    "people": "Users of this server are in the room, or invited to it. They must leave first.",
    "future": "A future is scheduled to be sent into the room. It must be sent or cancelled first.",
    "inbound": "Events of the room are being judged. Try again in a while.",
}


class RoomPurges:
    """Takes rooms out of the database. `after_ms` of None: none but those that `purge` is asked for."""

    def __init__(
        self,
        *,
        clock: Clock,
        writer: Writer,
        store: PurgeStore,
        memories: RoomMemories,
        events: EventStore,
        stream: Stream,
        after_ms: int | None,
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._store = store
        self._memories = memories
        self._events = events
        self._stream = stream
        self._after_ms = after_ms
        self._kept: Counter[RoomID] = Counter()
        self._going: set[RoomID] = set()
        self._tell: Callable[[UserID], None] = _nobody
        self._removing = DeferredLock()
        self._timer: Any = None
        self._working = False
        self._stopped = False

    async def start(self, tell: Callable[[UserID], None]) -> None:
        """Carry on with what was going, and look after what is due; `tell` hears of users whose memberships
        were removed."""
        self._tell = tell
        self._going.update(row.room_id for row in await self._store.all_begun())
        self.wake()

    def stop(self) -> None:
        """Begin nothing more; what is going goes on at the next start."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def note(self, batch: Batch, room_id: RoomID) -> None:
        """A user forgets the room with this batch: perhaps the last. `wake` when it is durable."""
        if self._after_ms is not None:
            self._store.note(batch, room_id, self._clock.wall_ms() + self._after_ms)

    def wake(self) -> None:
        """There may be something to do."""
        if not self._working and not self._stopped:
            self._working = True
            Deferred.fromCoroutine(self._work()).addErrback(_failed)

    def keep(self, room_id: RoomID) -> None:
        """Somebody is about to enter the room; `let_go` when that is over. Unavailable while it is going."""
        if room_id in self._going:
            raise Unavailable("What this server had of the room is just being removed. Please try again.")
        self._kept[room_id] += 1

    def let_go(self, room_id: RoomID) -> None:
        """The end of a `keep`."""
        self._kept[room_id] -= 1
        if not self._kept[room_id]:
            del self._kept[room_id]

    async def purge(self, room_id: RoomID) -> None:
        """Remove a room that all our users have left, whether they have forgotten it or not, now.

        Raises UnknownRoom when nothing is stored of it, StillInRoom with the reason when it cannot go.
        """
        if not await self._store.is_stored(room_id):
            raise UnknownRoom(f"This server has nothing of a room {room_id}.")
        await self._carry_on()  # with this room, if it was going when the last process ended
        batch = Batch()
        self._store.forget_for_all(batch, room_id)
        self._store.note(batch, room_id, self._clock.wall_ms())
        await self._writer.submit(batch)
        row = PurgeRow(room_id, 0, None, None)
        needed = await self._begin(row)
        if needed is not None:
            batch = Batch()
            self._store.drop(batch, room_id)
            await self._writer.submit(batch)
            raise StillInRoom(_REASONS[needed])
        await self._carry_on()

    async def _work(self) -> None:
        try:
            await self._carry_on()
            while not self._stopped:
                row = await self._store.maybe_next()
                if row is None:
                    return
                wait_ms = row.due_ms - self._clock.wall_ms()
                if wait_ms > 0:
                    self._wake_in(wait_ms)
                    return
                needed = await self._begin(row)
                if needed is not None:
                    await self._put_off(row, needed)
                await self._carry_on()
        finally:
            self._working = False

    def _wake_in(self, wait_ms: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self._stopped:
            self._timer = self._clock.call_later(min(wait_ms, TRY_AGAIN_MS), self.wake)

    async def _put_off(self, row: PurgeRow, needed: Needed) -> None:
        batch = Batch()
        if needed == "people":
            self._store.drop(batch, row.room_id)  # noted again when the last of them forgets it
        else:
            self._store.note(batch, row.room_id, self._clock.wall_ms() + TRY_AGAIN_MS)
        await self._writer.submit(batch)

    async def _begin(self, row: PurgeRow) -> Needed | None:
        """Make the room unknown; what keeps it, if something does."""
        room_id = row.room_id
        if room_id in self._going:
            return None
        if self._kept[room_id]:
            return "inbound"
        self._going.add(room_id)
        needed = await self._made_unknown(room_id)
        if needed is not None:
            self._going.discard(room_id)
        return needed

    async def _made_unknown(self, room_id: RoomID) -> Needed | None:
        room = await self._memories.maybe(room_id)
        if room is not None:
            await room.lock.acquire()
        try:
            upto = self._stream.current
            needed = await self._store.maybe_needed(room_id)
            users = await self._store.all_local_users(room_id)
            if room is not None and (room.under_way or room.stale):
                needed = needed or "inbound"
            if needed is not None:
                return needed
            batch = Batch()
            self._store.begin(batch, room_id, upto, users)
            await self._writer.submit(batch)
            self._memories.drop(room_id)
        finally:
            if room is not None:
                room.lock.release()
        log.info("{room_id} is forgotten by everybody here and is removed", room_id=room_id)
        for user_id in users:
            self._tell(user_id)
        return None

    async def _carry_on(self) -> None:
        await (
            self._removing.acquire()
        )  # a second one would take a room that has been entered anew for old rows
        try:
            for row in await self._store.all_begun():
                await self._remove(row)
                self._going.discard(row.room_id)
        finally:
            self._removing.release()

    async def _remove(self, row: PurgeRow) -> None:
        while await self._store.has_rows_beside(row):
            await self._submit(lambda batch: self._store.remove_rows_beside(batch, row))
        if row.state_group is not None:
            await self._remove_states((row.state_group,))
        while events := await self._store.some_events(row.room_id):
            await self._remove_states(sorted({group for event in events for group in event.groups}))
            await self._submit(lambda batch, events=events: self._store.remove_events(batch, events))  # type: ignore[misc]
            for event in events:
                self._events.forget(event.event_id)
        await self._submit(lambda batch: self._store.finish(batch, row.room_id))

    async def _remove_states(self, groups: tuple[int, ...] | list[int]) -> None:
        while some := await self._store.some_groups(groups):
            await self._submit(lambda batch, some=some: self._store.remove_groups(batch, some))  # type: ignore[misc]

    async def _submit(self, fill: Callable[[Batch], None]) -> None:
        if self._stopped:  # else the writer would wait for the last slice of a large room
            raise WriterStopped("The server is stopping.")
        batch = Batch()
        fill(batch)
        await self._writer.submit(batch)


def _nobody(_user_id: UserID) -> None:
    """Before the start nobody is told."""


def _failed(failure: Any) -> None:
    if not failure.check(BatchFailed, WriterStopped):
        log.failure("rooms could not be purged", failure)
