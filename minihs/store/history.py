"""Where the history of a room that is stored here ends: events that others follow and we do not have."""

from __future__ import annotations

from typing import NamedTuple

from minihs.events.ids import EventID, RoomID
from minihs.store.reader import Reader


class HistoryEdge(NamedTuple):
    """An event that is not here (or only as an outlier), and the depth of the event that follows it."""

    missing: EventID
    depth: int


class HistoryStore:
    """Reads the edges of rooms' histories."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all_edges(self, room_id: RoomID, limit: int) -> list[HistoryEdge]:
        """The `limit` latest edges of a room, the deepest first."""
        rows = await self._reader.all(
            """
            SELECT edge.prev_event_id, MAX(later.depth) AS depth
              FROM events AS later
              JOIN event_edges AS edge ON edge.event_id = later.event_id
              LEFT JOIN events AS earlier ON earlier.event_id = edge.prev_event_id
             WHERE later.room_id = ? AND later.standing = 0
               AND (earlier.event_id IS NULL OR earlier.standing >= 3)
             GROUP BY edge.prev_event_id ORDER BY depth DESC, edge.prev_event_id LIMIT ?
            """,
            (room_id, limit),
        )
        return [HistoryEdge(*row) for row in rows]
