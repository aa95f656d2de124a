"""The event of a room nearest to a moment. Source: Client-Server API, `GET /timestamp_to_event`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from minihs.events.ids import RoomID, UserID
from minihs.federation.remote_lookups import Direction, FoundEvent
from minihs.homeserver.errors import NotFound
from minihs.homeserver.history.event_visibility import EventVisibility
from minihs.homeserver.history.room_history import MAX_SCANNED, RoomHistory
from minihs.homeserver.history.timeline import RoomTimeline
from minihs.store.events import EventStore
from minihs.store.timeline import TimedRow, TimelineStore

CHUNK = 64
IN_WORDS: Mapping[Direction, str] = {"f": "forward", "b": "backward"}

FetchTowards = Callable[[RoomID, int, Direction, FoundEvent | None], Awaitable[bool]]
"""Fetches history in which there may be an event nearer to a moment than the one found here; whether there is
more now than before."""


async def no_history_towards(
    room_id: RoomID,  # noqa: ARG001 - the shape is FetchTowards'
    ts: int,  # noqa: ARG001
    direction: Direction,  # noqa: ARG001
    found: FoundEvent | None,  # noqa: ARG001
) -> bool:
    """For a server without federation: there is nobody to ask."""
    return False


class EventsByTime:
    """Finds events."""

    def __init__(
        self,
        *,
        timeline: RoomTimeline,
        store: TimelineStore,
        events: EventStore,
        history: RoomHistory,
        visibility: EventVisibility,
        fetch_towards: FetchTowards,
    ) -> None:
        self._timeline = timeline
        self._store = store
        self._events = events
        self._history = history
        self._visibility = visibility
        self._fetch_towards = fetch_towards

    async def nearest_visible(
        self, user_id: UserID, room_id: RoomID, ts: int, direction: Direction
    ) -> FoundEvent:
        """The nearest event that the user may see.

        Where our history ends before it other servers are asked, and what lies between is fetched, so that
        the user can read around the event; of a very long history so much at a time, and a repeat gets
        further. Raises Forbidden as `RoomTimeline` does, and NotFound.
        """
        viewer = await self._timeline.viewer(user_id, room_id)
        found = await self._visible(user_id, room_id, ts, direction)
        if (
            viewer.membership == "join"
            and await self._may_miss_a_nearer_one(ts, found, direction)
            and await self._fetch_towards(room_id, ts, direction, found)
        ):
            found = await self._visible(user_id, room_id, ts, direction)
        if found is None:
            raise NotFound(f"There is no event from {ts} in {IN_WORDS[direction]} direction.")
        return found

    async def _visible(
        self, user_id: UserID, room_id: RoomID, ts: int, direction: Direction
    ) -> FoundEvent | None:
        viewer = await self._timeline.viewer(user_id, room_id)
        async for rows in self._chunks(room_id, ts, direction):
            entries = {
                entry.event.event_id: entry
                for entry in await self._history.entries_of([row.event_id for row in rows])
            }
            ordered = [entries[row.event_id] for row in rows if row.event_id in entries]
            for entry in await self._visibility.visible(viewer, ordered):
                return FoundEvent(entry.event.event_id, entry.event.origin_server_ts)
        return None

    async def _chunks(self, room_id: RoomID, ts: int, direction: Direction) -> AsyncIterator[list[TimedRow]]:
        last: TimedRow | None = None
        for _ in range(MAX_SCANNED // CHUNK):
            rows = await self._store.all_by_time(
                room_id, ts, forwards=direction == "f", after=last, limit=CHUNK
            )
            if not rows:
                return
            yield rows
            last = rows[-1]

    async def _may_miss_a_nearer_one(self, ts: int, found: FoundEvent | None, direction: Direction) -> bool:
        """Whether something that is not here may lie between the moment and what was found.

        What is missing lies before events that we have. Backwards, that is so when we have nothing so old;
        forwards, when the event found is the first after a gap.
        """
        if found is None:
            return direction == "b"
        if direction == "b" or found.origin_server_ts == ts:
            return False
        event = await self._events.maybe_event(found.event_id)
        return event is not None and bool(await self._events.missing(event.prev_events, or_outlier=True))
