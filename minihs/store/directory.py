"""Aliases of this server and its published rooms: their SQL and nothing else.

Source: Client-Server API, "Room aliases" and "Published room directory".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import RoomAlias, RoomID, UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class AliasRow(msgspec.Struct, frozen=True):
    """An alias of this server and the room it stands for."""

    alias: RoomAlias
    room_id: RoomID
    creator: UserID


class PublishedRoom(msgspec.Struct, frozen=True):
    """A room in the directory and the number of its joined members, local and remote."""

    room_id: RoomID
    joined_members: int


class DirectoryStore:
    """Reads and writes of `aliases` and of `rooms.in_directory`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_alias(self, alias: RoomAlias) -> AliasRow | None:
        """The alias, if it is one of ours."""
        row = await self._reader.maybe(
            "SELECT alias, room_id, creator FROM aliases WHERE alias = ?", (alias,)
        )
        return None if row is None else AliasRow(*row)

    async def all_aliases(self, room_id: RoomID) -> Sequence[RoomAlias]:
        """Our aliases of a room, in alphabetical order."""
        rows = await self._reader.all(
            "SELECT alias FROM aliases WHERE room_id = ? ORDER BY alias", (room_id,)
        )
        return [alias for (alias,) in rows]

    async def is_published(self, room_id: RoomID) -> bool | None:
        """Whether the room is in the directory; None when the room is not known."""
        row = await self._reader.maybe("SELECT in_directory FROM rooms WHERE room_id = ?", (room_id,))
        return None if row is None else bool(row[0])

    async def all_published(self) -> Sequence[PublishedRoom]:
        """Every published room, the largest first, equal ones by room ID."""
        rows = await self._reader.all(
            """
            SELECT room_id,
                   (SELECT COUNT(*) FROM memberships
                     WHERE memberships.room_id = rooms.room_id AND membership = 'join') AS joined
              FROM rooms WHERE in_directory = 1 ORDER BY joined DESC, room_id
            """
        )
        return [PublishedRoom(*row) for row in rows]

    def add_alias(self, batch: Batch, row: AliasRow, created_ms: int) -> None:
        """Store a new alias; the batch fails when it exists."""
        batch.add(
            "INSERT INTO aliases (alias, room_id, creator, created_ms) VALUES (?, ?, ?, ?)",
            (row.alias, row.room_id, row.creator, created_ms),
        )

    def remove_alias(self, batch: Batch, alias: RoomAlias) -> None:
        """Forget an alias."""
        batch.add("DELETE FROM aliases WHERE alias = ?", (alias,))

    def move_aliases(self, batch: Batch, old_room: RoomID, new_room: RoomID) -> None:
        """Let every alias of one room stand for another."""
        batch.add("UPDATE aliases SET room_id = ? WHERE room_id = ?", (new_room, old_room))

    def set_published(self, batch: Batch, room_id: RoomID, published: bool) -> None:
        """Put a known room into the directory, or take it out."""
        batch.add("UPDATE rooms SET in_directory = ? WHERE room_id = ?", (int(published), room_id))
