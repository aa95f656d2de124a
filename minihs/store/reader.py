"""Reads: an async interface that SQLite answers inline, because a point read costs less than a thread hop.

Callers must await and must expect other work to happen at every await: another store may really wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")

Row = tuple[Any, ...]
Params = tuple[Any, ...] | dict[str, Any]

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB}


class Reader:
    """Runs SELECTs and sees what is committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._on_damage: Callable[[str], None] | None = None

    def on_damage(self, call: Callable[[str], None]) -> None:
        """Call `call` with a sentence when the disk or the file turns out to be damaged: to go on would be to
        build on what cannot be read."""
        self._on_damage = call

    async def one(self, sql: str, params: Params = ()) -> Row:
        """The only row; LookupError when there is none."""
        row = await self.maybe(sql, params)
        if row is None:
            raise LookupError(sql)
        return row

    async def maybe(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""
        try:
            row: Row | None = self._connection.execute(sql, params).fetchone()
        except sqlite3.DatabaseError as error:
            self._failed(error)
            raise
        return row

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows, in the order of the statement's ORDER BY."""
        try:
            return self._connection.execute(sql, params).fetchall()
        except sqlite3.DatabaseError as error:
            self._failed(error)
            raise

    def now(self, read: Coroutine[Any, Any, T]) -> T:
        """The result of reads through this reader, for programs without an event loop."""
        try:
            read.send(None)
        except StopIteration as finished:
            return cast(T, finished.value)
        raise RuntimeError("the read waits for something other than this reader")

    def _failed(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without SQLite's refinements
        if code in _DAMAGE and self._on_damage is not None:
            self._on_damage(f"The database cannot be read: {error}.")

    def close(self) -> None:
        self._connection.close()
