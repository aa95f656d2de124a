"""Account data, global and by room, as the `account_data` table has it, with the position of each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class AccountDataRow(msgspec.Struct, frozen=True):
    """One entry. `room_id` is None for what belongs to no room; `content` is a JSON object."""

    room_id: RoomID | None
    type: str
    content: bytes
    position: int


def _row(values: tuple[Any, ...]) -> AccountDataRow:
    room_id, event_type, content, position = values
    return AccountDataRow(room_id or None, event_type, content, position)


class AccountDataStore:
    """Reads and writes of `account_data`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def max_position(self) -> int:
        """The last position of the stream; 0 when nothing was ever stored."""
        row = await self._reader.one(
            "SELECT max(COALESCE(MAX(position), 0),"
            " COALESCE((SELECT number FROM number_floors WHERE counter = 'account_data'), 0))"
            " FROM account_data"
        )
        return int(row[0])

    async def maybe_content(self, user_id: UserID, room_id: RoomID | None, event_type: str) -> bytes | None:
        """The content, JSON; None when there is no such entry."""
        row = await self._reader.maybe(
            "SELECT content FROM account_data WHERE user_id = ? AND room_id = ? AND type = ?",
            (user_id, room_id or "", event_type),
        )
        return None if row is None else row[0]

    async def all_since(
        self, user_id: UserID, after: int = 0, upto: int | None = None
    ) -> Sequence[AccountDataRow]:
        """What changed at positions in (after, upto], in that order; all of it by default."""
        rows = await self._reader.all(
            "SELECT room_id, type, content, position FROM account_data"
            " WHERE user_id = ? AND position > ? AND position <= ? ORDER BY position",
            (user_id, after, (1 << 62) if upto is None else upto),
        )
        return [_row(row) for row in rows]

    def put(
        self,
        batch: Batch,
        user_id: UserID,
        room_id: RoomID | None,
        event_type: str,
        content: bytes,
        position: int,
    ) -> None:
        batch.add(
            "INSERT INTO account_data (user_id, room_id, type, content, position) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET content = excluded.content, position = excluded.position",
            (user_id, room_id or "", event_type, content, position),
        )
