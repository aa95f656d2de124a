"""Which events relate to which: reads by place. The rows are written with the events."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from minihs.events.ids import EventID, RoomID, UserID
from minihs.store.reader import Reader

COUNTED_AT_MOST = 10_000  # the number told is "approximate"


class RelatedRow(NamedTuple):
    """An event that relates to the one asked for, directly or not, and its place."""

    position: int
    event_id: EventID


class RelationStore:
    """Reads `relations`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def thread(
        self, room_id: RoomID, root_id: EventID, user_id: UserID, ignored: Collection[str]
    ) -> tuple[int, bool]:
        """How many accepted events are in a thread, and whether one is by the user. What is by those in
        `ignored` or was redacted is none; of the longest threads only COUNTED_AT_MOST are counted."""
        count, took_part = await self._reader.one(
            """
            SELECT count(*), max(sender = ?) FROM (
                SELECT e.sender FROM relations r JOIN events e USING (event_id)
                WHERE r.relates_to = ? AND r.rel_type = 'm.thread' AND e.room_id = ? AND e.standing = 0
                AND e.redacted_by IS NULL AND e.sender NOT IN (SELECT value FROM json_each(?))
                ORDER BY r.event_id LIMIT ?
            )
            """,
            (user_id, root_id, room_id, msgspec.json.encode(sorted(ignored)).decode(), COUNTED_AT_MOST),
        )
        return count, bool(took_part)

    async def some(
        self,
        room_id: RoomID,
        event_id: EventID,
        *,
        rel_type: str | None,
        event_type: str | None,
        max_depth: int,
        after: int,
        upto: int,
        backwards: bool,
        limit: int,
    ) -> list[RelatedRow]:
        """At most `limit` accepted events of the room with `after` < position ≤ `upto` that relate to an
        event over at most `max_depth` steps; backwards the newest first, else the oldest."""
        order = "DESC" if backwards else "ASC"
        rows = await self._reader.all(
            f"""
            WITH RECURSIVE related (event_id, rel_type, depth) AS (
                SELECT event_id, rel_type, 1 FROM relations WHERE relates_to = ?
                UNION
                SELECT r.event_id, r.rel_type, related.depth + 1
                FROM related JOIN relations r ON r.relates_to = related.event_id WHERE related.depth < ?
            )
            SELECT DISTINCT e.position, e.event_id FROM related JOIN events e USING (event_id)
            WHERE e.room_id = ? AND e.standing = 0 AND e.position > ? AND e.position <= ?
            AND related.rel_type = coalesce(?, related.rel_type) AND e.type = coalesce(?, e.type)
            ORDER BY e.position {order} LIMIT ?
            """,
            (event_id, max_depth, room_id, after, upto, rel_type, event_type, limit),
        )
        return [RelatedRow(*row) for row in rows]
