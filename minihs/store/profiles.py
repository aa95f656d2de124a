"""Profiles of local users, as the `profiles` table has them: one JSON value for each field."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class ProfileStore:
    """Reads and writes of `profiles`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all_fields(self, user_id: UserID) -> dict[str, Any]:
        """The fields that are set, by name."""
        rows = await self._reader.all(
            "SELECT field, value FROM profiles WHERE user_id = ? ORDER BY field", (user_id,)
        )
        return {field: msgspec.json.decode(value) for field, value in rows}

    def set_field(self, batch: Batch, user_id: UserID, field: str, value: Any) -> None:
        batch.add(
            "INSERT INTO profiles (user_id, field, value) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = excluded.value",
            (user_id, field, msgspec.json.encode(value)),
        )

    def remove_field(self, batch: Batch, user_id: UserID, field: str) -> None:
        batch.add("DELETE FROM profiles WHERE user_id = ? AND field = ?", (user_id, field))

    def remove_all(self, batch: Batch, user_id: UserID) -> None:
        batch.add("DELETE FROM profiles WHERE user_id = ?", (user_id,))
