"""A store that really waits: every read gives control away for some turns, drawn from a seed.

Answers that come inline hide races that another store would show.
"""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred

from minihs.platform.clock import Clock
from minihs.store.database import Database, open_database
from minihs.store.reader import Params, Reader, Row

MOST_TURNS = 3


class YieldingReader(Reader):
    """Answers what a reader would have answered, some turns later."""

    def __init__(self, reader: Reader, seed: int) -> None:
        super().__init__(reader._connection)
        self._random = Random(seed)
        self.clock: Clock | None = None
        """Set when there is one; before, it answers inline."""

    async def _turns(self) -> None:
        if self.clock is None:
            return
        for _ in range(self._random.randrange(MOST_TURNS + 1)):
            turn: Deferred[None] = Deferred()
            self.clock.call_later(0, turn.callback, None)
            await turn

    async def one(self, sql: str, params: Params = ()) -> Row:
        row = await super().one(sql, params)
        await self._turns()
        return row

    async def maybe(self, sql: str, params: Params = ()) -> Row | None:
        row = await super().maybe(sql, params)
        await self._turns()
        return row

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        rows = await super().all(sql, params)
        await self._turns()
        return rows


def open_yielding_database(seed: int) -> Database:
    """A database in memory whose reads really wait once its reader has been given a clock."""
    database = open_database()
    return Database(writing=database.writing, reader=YieldingReader(database.reader, seed))
