"""A store that really waits: every read gives control away for some turns, drawn from a seed.

Answers that come inline hide races that another store would show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from twisted.internet.defer import Deferred

from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.store.database import Database
from minihs.store.reader import Params, Reader, Row

MOST_TURNS = 3

_everywhere: ContextVar[bool] = ContextVar("yielding everywhere", default=False)


@contextmanager
def everywhere() -> Iterator[None]:
    """All worlds that are made inside have stores that wait: for experiments, which make their own worlds."""
    token = _everywhere.set(True)
    try:
        yield
    finally:
        _everywhere.reset(token)


def is_everywhere() -> bool:
    """Whether a world that is made now is inside `everywhere`."""
    return _everywhere.get()


class YieldingReader(Reader):
    """Answers what a reader would have answered, some turns later; without a `clock`, inline as ever."""

    def __init__(self, reader: Reader, entropy: Entropy, clock: Clock | None = None) -> None:
        super().__init__(reader._connection)
        self._entropy = entropy
        self.clock = clock

    async def _turns(self) -> None:
        clock = self.clock
        if clock is None:
            return
        for _ in range(self._entropy.token_bytes(1)[0] % (MOST_TURNS + 1)):
            turn: Deferred[None] = Deferred()
            clock.call_later(0, turn.callback, None)
            await turn

    async def one(self, sql: str, params: Params = ()) -> Row:
        row = await super().maybe(sql, params)
        await self._turns()
        if row is None:
            raise LookupError(sql)
        return row

    async def maybe(self, sql: str, params: Params = ()) -> Row | None:
        row = await super().maybe(sql, params)
        await self._turns()
        return row

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        rows = await super().all(sql, params)
        await self._turns()
        return rows


def yielding(database: Database, entropy: Entropy, clock: Clock | None = None) -> Database:
    """The same database, whose reads really wait."""
    return Database(
        path=database.path,
        writing=database.writing,
        reader=YieldingReader(database.reader, entropy, clock),
    )
