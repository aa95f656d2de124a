"""Rows about rooms of which this server knows no more than an invite or a knock tells."""

from __future__ import annotations

from minihs.events.ids import RoomID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class DistantRoomStore:
    """The versions of such rooms; who is invited to them stands in `memberships`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_version(self, room_id: RoomID) -> str | None:
        """The room's version; None when nobody here was ever invited to it or knocked from afar."""
        row = await self._reader.maybe("SELECT version FROM distant_rooms WHERE room_id = ?", (room_id,))
        return None if row is None else row[0]

    def add(self, batch: Batch, room_id: RoomID, version: str) -> None:
        """Remember a room's version; the first that is told stays."""
        batch.add("INSERT OR IGNORE INTO distant_rooms (room_id, version) VALUES (?, ?)", (room_id, version))
