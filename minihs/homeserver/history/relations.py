"""Events that relate to another one: reactions, edits, threads, references, page by page.

Source: Client-Server API, `GET /rooms/{roomId}/relations/{eventId}`, "Forming relationships between events".
"""

from __future__ import annotations

from typing import Any

from minihs.events.ids import EventID, RoomID
from minihs.events.relations import relation_of
from minihs.homeserver.errors import Forbidden, NotFound
from minihs.homeserver.history.event_format import Entry, EventFormat, Reader
from minihs.homeserver.history.event_visibility import EventVisibility
from minihs.homeserver.history.room_history import CHUNK, MAX_SCANNED, RoomHistory
from minihs.homeserver.history.timeline import OLDEST, RoomTimeline
from minihs.homeserver.sync.positions import StreamToken
from minihs.store.relations import RelationStore

NEWEST = 1 << 62
MAX_DEPTH = 3
"""Relations of relations that `recurse` follows."""


class RelatedEvents:
    """Finds them for users."""

    def __init__(
        self,
        *,
        store: RelationStore,
        timeline: RoomTimeline,
        history: RoomHistory,
        visibility: EventVisibility,
        event_format: EventFormat,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._history = history
        self._visibility = visibility
        self._format = event_format

    async def page(
        self,
        reader: Reader,
        room_id: RoomID,
        event_id: EventID,
        *,
        rel_type: str | None,
        event_type: str | None,
        recurse: bool,
        backwards: bool,
        start: StreamToken | None,
        stop: StreamToken | None,
        limit: int,
    ) -> dict[str, Any]:
        """Up to `limit` related events from `start` towards `stop`; one whose relation was redacted is none.

        NotFound when the event is not here or the user may not see it.
        """
        try:
            await self._timeline.event(reader, room_id, event_id)
        except Forbidden as refusal:
            raise NotFound("There is no such event here, or you may not see it.") from refusal
        after, upto = (stop, start) if backwards else (start, stop)
        found, more = await self._some(
            reader,
            room_id,
            event_id,
            rel_type=rel_type,
            event_type=event_type,
            max_depth=MAX_DEPTH if recurse else 1,
            after=OLDEST if after is None else after.event,
            upto=NEWEST if upto is None else upto.event,
            backwards=backwards,
            limit=limit,
        )
        reply: dict[str, Any] = {"chunk": await self._format.render_all(found, reader, room_id=True)}
        if more is not None:
            reply["next_batch"] = str(StreamToken.at_event(more - 1 if backwards else more))
        if start is not None:
            reply["prev_batch"] = str(start)
        return reply

    async def _some(
        self,
        reader: Reader,
        room_id: RoomID,
        event_id: EventID,
        *,
        after: int,
        upto: int,
        backwards: bool,
        limit: int,
        **question: Any,
    ) -> tuple[list[Entry], int | None]:
        """The events, and the position of the last one dealt with when there may be more."""
        viewer = await self._timeline.viewer(reader.user_id, room_id)
        found: list[Entry] = []
        for _ in range(MAX_SCANNED // CHUNK):
            rows = await self._store.some(
                room_id, event_id, after=after, upto=upto, backwards=backwards, limit=CHUNK, **question
            )
            entries = await self._history.entries_of([row.event_id for row in rows])
            related = [entry for entry in entries if relation_of(entry.event) is not None]
            visible = await self._visibility.visible(viewer, related[::-1] if backwards else related)
            found += visible
            if len(found) > limit:
                kept = found[:limit]
                return kept, kept[-1].position
            if len(rows) < CHUNK:
                return found, None
            if backwards:
                upto = rows[-1].position - 1
            else:
                after = rows[-1].position
        return found, upto + 1 if backwards else after
