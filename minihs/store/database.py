"""Opens the SQLite database: connections, pragmas, migrations. No noun's SQL lives here.

One connection writes (see `writer`), one reads. In WAL mode the reader sees the last committed state and
never waits for the writer. A database in memory (tests, virtual worlds) has one connection for both.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from minihs.store.reader import Reader

APPLICATION_ID = 0x6D686973  # "mhis", so that another program's database is not mistaken for ours
IN_MEMORY = ":memory:"


class DatabaseUnusable(Exception):
    """The database cannot be used as it stands; the message says why and what to do. Nothing was changed."""


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """An open, migrated database."""

    writing: sqlite3.Connection
    reader: Reader

    def close(self) -> None:
        """Close both connections; the writer must be idle."""
        self.reader.close()
        self.writing.close()


def open_database(path: Path | str = IN_MEMORY, *, synchronous: str = "FULL") -> Database:
    """Open or create the database at `path` and bring its schema up to date.

    `synchronous` is SQLite's pragma: FULL survives a power cut, NORMAL and OFF are for experiments.
    Raises DatabaseUnusable when the file is damaged, foreign, or made by a newer release.
    """
    in_memory = str(path) == IN_MEMORY
    try:
        writing = _connect(path)
        if not in_memory:
            writing.execute("PRAGMA journal_mode=WAL")
        writing.execute(f"PRAGMA synchronous={synchronous}")
        _check_origin(writing, path)
        migrate(writing)
        reading = writing if in_memory else _connect(path)
        if not in_memory:
            reading.execute("PRAGMA query_only=ON")
    except sqlite3.DatabaseError as error:
        raise DatabaseUnusable(
            f"The database {path} cannot be opened: {error}. Nothing was changed. "
            "Restore it from a copy, or move it away to start with an empty one."
        ) from error
    return Database(writing=writing, reader=Reader(reading))


@contextmanager
def read_only(path: Path) -> Iterator[Reader]:
    """Look into the database of a server, which may be running; changes nothing."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=10)
    try:
        yield Reader(connection)
    finally:
        connection.close()


def latest_version() -> int:
    """The schema version that this release writes."""
    return max(number for number, _ in _migrations())


def migrate(connection: sqlite3.Connection, upto: int | None = None) -> None:
    """Run the numbered migrations that the database has not seen, each in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in _migrations():
        if number > version and (upto is None or number <= upto):
            connection.executescript(f"BEGIN;\n{script.read_text()}\nPRAGMA user_version={number};\nCOMMIT;")


def _connect(path: Path | str) -> sqlite3.Connection:
    # The writer's COMMIT runs in a worker thread; `Writer` keeps everybody else away meanwhile.
    connection = sqlite3.connect(
        str(path), isolation_level=None, check_same_thread=False, cached_statements=512, timeout=10
    )
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def _check_origin(connection: sqlite3.Connection, path: Path | str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables and application_id != APPLICATION_ID:
        raise DatabaseUnusable(f"{path} is not a minihs database. Name another data directory.")
    if version > latest_version():
        raise DatabaseUnusable(
            f"{path} was written by a newer release (schema {version}; this one knows {latest_version()}). "
            "Start the newer release, or restore a copy from before the upgrade."
        )
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def _migrations() -> Iterator[tuple[int, Traversable]]:
    scripts = resources.files("minihs.store") / "migrations"
    for script in sorted(scripts.iterdir(), key=lambda entry: entry.name):
        match = re.fullmatch(r"(\d{4})_\w+\.sql", script.name)
        if match:
            yield int(match[1]), script
