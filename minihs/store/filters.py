"""Filters that clients uploaded, as the `filters` table has them: JSON as it came, never changed."""

from __future__ import annotations

from minihs.events.ids import UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class FilterStore:
    """Reads and writes of `filters`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_filter(self, user_id: UserID, filter_id: str) -> bytes | None:
        """The definition, JSON; None when the user has no such filter."""
        row = await self._reader.maybe(
            "SELECT definition FROM filters WHERE user_id = ? AND filter_id = ?", (user_id, filter_id)
        )
        return None if row is None else row[0]

    def put_filter(self, batch: Batch, user_id: UserID, filter_id: str, definition: bytes) -> None:
        """Keep the filter; nothing changes when it is there."""
        batch.add(
            "INSERT INTO filters (user_id, filter_id, definition) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (user_id, filter_id, definition),
        )
