"""Opens the SQLite database: connections, pragmas, migrations. No noun's SQL lives here.

One connection writes (see `writer`), one reads. In WAL mode the reader sees the last committed state and
never waits for the writer. A database in memory (tests, virtual worlds) has one connection for both.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
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

    path: Path | str = IN_MEMORY
    writing: sqlite3.Connection
    reader: Reader

    def server_name(self) -> str | None:
        """Whose database this is; None before it was claimed."""
        row = self.writing.execute("SELECT server_name FROM identity").fetchone()
        return None if row is None else str(row[0])

    def claim(self, server_name: str) -> None:
        """Make this the database of `server_name` for good; DatabaseUnusable when it is another server's."""
        owner = self.server_name()
        if owner is None:
            with explained(self.path):
                self.writing.execute(
                    "INSERT INTO identity (only_row, server_name) VALUES (1, ?)", (server_name,)
                )
        elif owner != server_name:
            raise DatabaseUnusable(
                f"The database {self.path} belongs to the server {owner}, whose users and rooms keep "
                f"their names for ever. Start it with --server-name {owner}, or name another data "
                f"directory for {server_name}."
            )

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
    with ExitStack() as undo, explained(path):
        writing = undo.enter_context(closing(_connect(path)))
        _check_origin(writing, path)  # first: the file of another program stays as it is
        if not in_memory:
            _switch_to_wal(writing, path)
        writing.execute(f"PRAGMA synchronous={synchronous}")
        migrate(writing)
        reading = writing
        if not in_memory:
            reading = undo.enter_context(closing(_connect(path)))
            reading.execute("PRAGMA query_only=ON")
        undo.pop_all()
    return Database(path=path, writing=writing, reader=Reader(reading))


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """SQLite's errors at start as sentences that say what to do: DatabaseUnusable."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without SQLite's refinements
        advice = _ADVICE.get(code, "Check its owner and permissions, and those of its folder.")
        raise DatabaseUnusable(
            f"The database {path} cannot be opened: {error}. Nothing was changed. {advice}"
        ) from error


_RESTORE = "Restore it from a copy, or move it away to start with an empty one."
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
    sqlite3.SQLITE_FULL: "Make room on the disk and start again.",
    sqlite3.SQLITE_IOERR: "Look at the disk (is it full?) and at the system's log.",
    sqlite3.SQLITE_BUSY: "Another program holds it open; end that program.",
}


def _switch_to_wal(connection: sqlite3.Connection, path: Path | str) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise DatabaseUnusable(
            f"The file system of {path} cannot hold the database: it lacks shared memory, as network file "
            "systems do. Name a data directory on a local disk."
        )


@contextmanager
def read_only(path: Path) -> Iterator[Reader]:
    """Look into the database of a server, which may be running; changes nothing."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=10)
    try:
        yield Reader(connection)
    finally:
        connection.close()


def stored_server_name(path: Path) -> str | None:
    """Whose database is at `path`; None when there is none, or that of something else. DatabaseUnusable."""
    if not path.is_file():
        return None
    with explained(path), read_only(path) as reader:
        if reader.now(reader.maybe("SELECT 1 FROM sqlite_master WHERE name = 'identity'")) is None:
            return None
        row = reader.now(reader.maybe("SELECT server_name FROM identity"))
    return None if row is None else str(row[0])


def latest_version() -> int:
    """The schema version that this release writes."""
    return max(number for number, _ in _migrations())


def migrate(connection: sqlite3.Connection, upto: int | None = None) -> None:
    """Run the numbered migrations that the database has not seen: all of them or none.

    In one transaction, because a release that knows some of them alone could not open what was left.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    new = [
        f"{script.read_text()}\nPRAGMA user_version={number};"
        for number, script in _migrations()
        if number > version and (upto is None or number <= upto)
    ]
    if new:
        connection.executescript("\n".join(["BEGIN;", *new, "COMMIT;"]))


class MemoryConnection(sqlite3.Connection):
    """A connection to a database in memory, which ends with whoever used it: there is nothing to keep."""

    def __del__(self) -> None:
        self.close()


def _connect(path: Path | str) -> sqlite3.Connection:
    # The writer's COMMIT runs in a worker thread; `Writer` keeps everybody else away meanwhile.
    connection = sqlite3.connect(
        str(path),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=10,
        factory=MemoryConnection if str(path) == IN_MEMORY else sqlite3.Connection,
    )
    connection.execute("PRAGMA temp_store=MEMORY")
    # Twice SQLite's default, 8 MB: a page that many small batches change is then written back half as often.
    connection.execute("PRAGMA wal_autocheckpoint=2000")
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
    if application_id != APPLICATION_ID:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def _migrations() -> Iterator[tuple[int, Traversable]]:
    scripts = resources.files("minihs.store") / "migrations"
    for script in sorted(scripts.iterdir(), key=lambda entry: entry.name):
        match = re.fullmatch(r"(\d{4})_\w+\.sql", script.name)
        if match:
            yield int(match[1]), script
