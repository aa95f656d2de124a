"""Pages of a room's events in order of arrival, as one user may see them through a filter.

`/sync`, `/messages` and `/context` take their events from here: from memory where the window of recent events
reaches, else from the store, in chunks whose number is bounded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from msgspec.structs import replace

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID
from minihs.homeserver.history.event_format import Entry
from minihs.homeserver.history.event_visibility import EventVisibility, Viewer
from minihs.homeserver.history.recent_events import RecentEvents
from minihs.store.events import EventStore
from minihs.store.timeline import StateChangeRow, TimelineRow, TimelineStore

CHUNK = 128
MAX_SCANNED = 4_096
"""Events looked at for one page: a filter that lets almost nothing through cannot hold the server up."""

Wanted = Callable[[Event], bool]


class Page(msgspec.Struct, frozen=True):
    """Events in the order in which they were asked for.

    `more` says that there may be further events in that direction; `reached` is then the position up to
    which this page has dealt with everything: going back the lowest, going forward the highest.
    """

    entries: list[Entry]
    more: bool
    reached: int


class RoomHistory:
    """Reads pages."""

    def __init__(
        self,
        timeline: TimelineStore,
        events: EventStore,
        recent: RecentEvents,
        visibility: EventVisibility,
    ) -> None:
        self._timeline = timeline
        self._events = events
        self._recent = recent
        self._visibility = visibility

    async def newest(
        self, viewer: Viewer, *, after: int, upto: int, limit: int, wanted: Wanted | None = None
    ) -> Page:
        """The last `limit` visible events with `after` < position ≤ `upto`, the newest first."""
        chunks = self._back(viewer.room_id, after, upto, limit + 1)
        return await self._page(viewer, chunks, limit, wanted, after)

    async def oldest(
        self, viewer: Viewer, *, after: int, upto: int, limit: int, wanted: Wanted | None = None
    ) -> Page:
        """The first `limit` visible events with `after` < position ≤ `upto`, the oldest first."""
        chunks = self._forth(viewer.room_id, after, upto, limit + 1)
        return await self._page(viewer, chunks, limit, wanted, upto)

    async def state_changes(self, room_id: RoomID, *, after: int, upto: int) -> Sequence[StateChangeRow]:
        """The changes to the room's state with `after` < position ≤ `upto`, the oldest first."""
        if self._recent.covers(after, upto):
            return self._recent.state_changes(room_id, after=after, upto=upto)
        return await self._timeline.all_state_changes(room_id, after=after, upto=upto)

    async def own_member_event(self, viewer: Viewer) -> list[Entry]:
        """The event that made the viewer what they are to the room now, wherever it came from."""
        record = await self._timeline.maybe_membership(viewer.user_id, viewer.room_id)
        entries = [] if record is None else await self.entries_of([record.event_id])
        return [replace(entry, membership=entry.event.membership) for entry in entries]

    async def entries_of(self, event_ids: Sequence[EventID]) -> list[Entry]:
        """These events with their places, whatever their standing; unknown ones are left out."""
        return await self._entries(sorted((await self._timeline.all_of(event_ids)).values(), key=_place))

    async def _page(
        self,
        viewer: Viewer,
        chunks: AsyncIterator[Sequence[TimelineRow]],
        limit: int,
        wanted: Wanted | None,
        end: int,
    ) -> Page:
        found: list[Entry] = []
        scanned, reached = 0, end
        async for rows in chunks:
            entries = await self._entries(rows)
            if wanted is not None:
                entries = [entry for entry in entries if wanted(entry.event)]
            found += await self._visibility.visible(viewer, entries)
            if len(found) > limit:
                kept = found[:limit]
                return Page(kept, True, kept[-1].position if kept else rows[0].position + 1)
            scanned += len(rows)
            if rows:
                reached = rows[-1].position
            if scanned >= MAX_SCANNED:
                return Page(found, True, reached)
        return Page(found, False, end)

    async def _entries(self, rows: Sequence[TimelineRow]) -> list[Entry]:
        stored = await self._events.rows(row.event_id for row in rows)
        return [
            Entry(stored[row.event_id], row.position, row.replaces) for row in rows if row.event_id in stored
        ]

    async def _back(
        self, room_id: RoomID, after: int, upto: int, size: int
    ) -> AsyncIterator[Sequence[TimelineRow]]:
        if self._recent.covers(after, upto):
            held = self._recent.rows(room_id, after=after, upto=upto)
            for end in range(len(held), 0, -size):
                yield held[max(0, end - size) : end][::-1]
            return
        while True:
            rows = await self._timeline.all_newest(room_id, after=after, upto=upto, limit=size)
            yield rows
            if len(rows) < size:
                return
            upto, size = rows[-1].position - 1, CHUNK

    async def _forth(
        self, room_id: RoomID, after: int, upto: int, size: int
    ) -> AsyncIterator[Sequence[TimelineRow]]:
        if self._recent.covers(after, upto):
            held = self._recent.rows(room_id, after=after, upto=upto)
            for start in range(0, len(held), size):
                yield held[start : start + size]
            return
        while True:
            rows = await self._timeline.all_oldest(room_id, after=after, upto=upto, limit=size)
            yield rows
            if len(rows) < size:
                return
            after, size = rows[-1].position, CHUNK


def _place(row: TimelineRow) -> int:
    return row.position
