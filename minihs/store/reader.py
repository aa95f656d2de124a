"""Reads: an async interface that SQLite answers inline, because a point read costs less than a thread hop.

Callers must await and must expect other work to happen at every await: another store may really wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")

Row = tuple[Any, ...]
Params = tuple[Any, ...] | dict[str, Any]


class Reader:
    """Runs SELECTs and sees what is committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def one(self, sql: str, params: Params = ()) -> Row:
        """The only row; LookupError when there is none."""
        row = self._connection.execute(sql, params).fetchone()
        if row is None:
            raise LookupError(sql)
        return tuple(row)

    async def maybe(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._connection.execute(sql, params).fetchone()
        return row

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows, in the order of the statement's ORDER BY."""
        return self._connection.execute(sql, params).fetchall()

    def now(self, read: Coroutine[Any, Any, T]) -> T:
        """The result of reads through this reader, for programs without an event loop."""
        try:
            read.send(None)
        except StopIteration as finished:
            return cast(T, finished.value)
        raise RuntimeError("the read waits for something other than this reader")

    def close(self) -> None:
        self._connection.close()
