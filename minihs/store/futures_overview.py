"""All users' futures, for administrators: their SQL and nothing else. For owners there is `store.futures`."""

from __future__ import annotations

import msgspec

from minihs.events.ids import UserID
from minihs.futures.model import FutureID
from minihs.store.future_rows import COLUMNS, FutureRow, StoredFuture, future_row, stored_future
from minihs.store.futures import secret_hash
from minihs.store.reader import Reader

_FROM = "FROM futures LEFT JOIN future_timers USING (future_id)"


class Place(msgspec.Struct, frozen=True, order=True):
    """A place in a listing: behind a future of a user. `moment` is when that was finalised, else 0."""

    owner: str
    moment: int
    future_id: int


START = Place("", 0, 0)


class FuturesOverview:
    """Finds any future."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_by_number(self, future_id: FutureID) -> StoredFuture | None:
        """The future with that internal ID."""
        row = await self._reader.maybe(
            f"SELECT {COLUMNS}, payload {_FROM} WHERE futures.future_id = ?", (future_id,)
        )
        return None if row is None else stored_future(row)

    async def maybe_by_delay_id(self, delay_id: str) -> StoredFuture | None:
        """The future with that public ID."""
        row = await self._reader.maybe(
            f"SELECT {COLUMNS}, payload {_FROM} WHERE id_hash = ?", (secret_hash(delay_id),)
        )
        return None if row is None else stored_future(row)

    async def all_scheduled(
        self, after: Place, limit: int, owner: UserID | None = None
    ) -> list[tuple[Place, FutureRow]]:
        """Scheduled futures of everybody, or of one user, by user and in order of scheduling."""
        rows = await self._reader.all(
            f"SELECT {COLUMNS} {_FROM} WHERE outcome IS NULL AND (owner, futures.future_id) > (?, ?)"
            f"{_of(owner)} ORDER BY owner, futures.future_id LIMIT ?",
            (after.owner, after.future_id, *_parameter(owner), limit),
        )
        return [(Place(row.future.owner, 0, row.future.id), row) for row in map(future_row, rows)]

    async def all_finalised(
        self, after: Place, limit: int, owner: UserID | None = None
    ) -> list[tuple[Place, FutureRow]]:
        """Finalised futures of everybody, or of one user, by user and in order of their ends."""
        rows = await self._reader.all(
            f"SELECT {COLUMNS} {_FROM} WHERE outcome IS NOT NULL"
            f" AND (owner, finalised_ts, futures.future_id) > (?, ?, ?){_of(owner)}"
            " ORDER BY owner, finalised_ts, futures.future_id LIMIT ?",
            (after.owner, after.moment, after.future_id, *_parameter(owner), limit),
        )
        return [
            (Place(row.future.owner, _ended_ms(row), row.future.id), row) for row in map(future_row, rows)
        ]


def _of(owner: UserID | None) -> str:
    return "" if owner is None else " AND owner = ?"


def _parameter(owner: UserID | None) -> tuple[UserID, ...]:
    return () if owner is None else (owner,)


def _ended_ms(row: FutureRow) -> int:
    return 0 if row.future.outcome is None else row.future.outcome.at_wall_ms
