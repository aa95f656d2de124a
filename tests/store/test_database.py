"""Opening the database: what is refused, why, and that a refusal changes nothing."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from minihs.store import database as database_module
from minihs.store.database import (
    APPLICATION_ID,
    DatabaseUnusable,
    explained,
    latest_version,
    migrate,
    open_database,
    read_only,
    stored_server_name,
)
from minihs.store.reader import Reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of ours that is not in use."""
    path = tmp_path / "minihs.db"
    open_database(path).close()
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refusal(path: Path) -> str:
    """Why opening is refused; nothing in the folder may have changed."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(DatabaseUnusable) as refused:
        open_database(path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    return str(refused.value)


def test_a_database_of_ours_is_opened_again_and_not_touched_by_it(path: Path) -> None:
    before = path.read_bytes()
    with closing(open_database(path)) as database:
        assert database.writing.execute("PRAGMA user_version").fetchone() == (latest_version(),)
        assert database.writing.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path: Path) -> None:
    change(path, f"PRAGMA user_version={latest_version() + 1}")
    assert f"written by a newer release (schema {latest_version() + 1}" in refusal(path)


def test_an_older_schema_is_brought_up_to_date(path: Path) -> None:
    path.unlink()
    change(path, f"PRAGMA application_id={APPLICATION_ID}")
    with closing(open_database(path)) as database:
        assert database.writing.execute("PRAGMA user_version").fetchone() == (latest_version(),)


def test_another_programs_database_is_refused(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE theirs (x)")
    assert "is not a minihs database" in refusal(path)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda whole: b"garbage!" * 8 + whole[64:], "file is not a database"),
        (lambda whole: whole[: len(whole) // 2], "database disk image is malformed"),
        (lambda whole: whole[:4096] + b"\xff" * (len(whole) - 4096), "database disk image is malformed"),
    ],
    ids=["header", "truncated", "pages"],
)
def test_a_damaged_file_is_refused_with_advice(path: Path, damage: object, why: str) -> None:
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    sentence = refusal(path)
    assert why in sentence
    assert "Restore it from a copy" in sentence


def test_a_file_that_cannot_be_opened_is_not_said_to_be_damaged(path: Path) -> None:
    with pytest.raises(DatabaseUnusable) as refused:
        open_database(path.parent)
    assert "unable to open database file" in str(refused.value)
    assert "Restore" not in str(refused.value)


def test_damage_that_shows_only_when_it_is_read_is_explained_in_the_same_way(path: Path) -> None:
    """Pages that nothing reads at opening: the tables are found, what they hold is not."""
    with closing(open_database(path)) as database:
        database.writing.executescript(
            "CREATE TABLE filler (x); INSERT INTO filler SELECT randomblob(500) FROM "
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n);"
        )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xa5" * (len(whole) - len(whole) // 2))
    with (
        closing(open_database(path)) as database,
        pytest.raises(DatabaseUnusable, match=r"malformed.*Restore it from a copy"),
        explained(path),
    ):
        database.writing.execute("SELECT COUNT(*) FROM filler").fetchone()


def test_a_database_belongs_to_one_server_name(path: Path) -> None:
    with closing(open_database(path)) as database:
        assert database.server_name() is None
        database.claim("here.example")
        database.claim("here.example")
        with pytest.raises(DatabaseUnusable, match=r"belongs to the server here\.example"):
            database.claim("elsewhere.example")
    assert stored_server_name(path) == "here.example"


def schema(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def test_a_new_database_is_up_to_date_durable_and_ours(tmp_path: Path) -> None:
    database = open_database(tmp_path / "minihs.db")
    pragmas = {
        name: database.writing.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "user_version", "application_id")
    }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "user_version": latest_version(),
        "application_id": APPLICATION_ID,
    }
    database.close()


def test_the_numbers_of_migrations_are_unique_and_without_gaps() -> None:
    folder = resources.files("minihs.store") / "migrations"
    numbers = sorted(
        int(match[1]) for script in folder.iterdir() if (match := re.match(r"(\d{4})_\w+\.sql", script.name))
    )
    assert numbers == list(range(1, latest_version() + 1))


@pytest.mark.parametrize("version", range(1, latest_version()))
def test_a_database_of_each_earlier_version_becomes_what_a_new_one_is(version: int, tmp_path: Path) -> None:
    path = tmp_path / "minihs.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(f"PRAGMA application_id={APPLICATION_ID}")
    migrate(old, upto=version)
    assert old.execute("PRAGMA user_version").fetchone() == (version,)
    old.close()
    migrated, new = open_database(path), open_database(tmp_path / "new.db")
    assert schema(migrated.writing) == schema(new.writing)
    migrated.close()
    new.close()


def test_migrations_are_run_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of them is wrong: those before it leave no trace either."""
    scripts = list(database_module._migrations())
    number = latest_version() + 1
    (tmp_path / "wrong.sql").write_text("CREATE TABLE good (x); CREATE TABLE good (x);")
    monkeypatch.setattr(database_module, "_migrations", lambda: [*scripts, (number, tmp_path / "wrong.sql")])
    with pytest.raises(DatabaseUnusable, match=r"table good already exists. Nothing was changed"):
        open_database(tmp_path / "minihs.db")
    with closing(sqlite3.connect(tmp_path / "minihs.db")) as connection:
        assert schema(connection) == []
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    """`rooms` is there already, so the first migration cannot make it."""
    path = tmp_path / "minihs.db"
    odd = sqlite3.connect(path)
    odd.execute("CREATE TABLE rooms (odd)")
    odd.execute(f"PRAGMA application_id={APPLICATION_ID}")
    odd.commit()
    before = schema(odd)
    odd.close()
    with pytest.raises(DatabaseUnusable, match=r"table rooms already exists. Nothing was changed"):
        open_database(path)
    with sqlite3.connect(path) as after:
        assert schema(after) == before
    after.close()


def test_a_database_that_another_program_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "minihs.db"
    open_database(path).close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, **{**kw, "timeout": 0}))
    other = connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnusable, match=r"database is locked.*Another program holds it open"):
        open_database(path)
    other.close()
    open_database(path).close()


def test_nobodys_name_is_known_of_what_is_no_server(tmp_path: Path) -> None:
    path = tmp_path / "minihs.db"
    assert stored_server_name(path) is None
    with sqlite3.connect(path) as other_program:
        other_program.execute("CREATE TABLE notes (text TEXT)")
    other_program.close()
    assert stored_server_name(path) is None
    path.unlink()
    open_database(path).close()
    assert stored_server_name(path) is None


def test_a_damaged_database_is_not_taken_for_a_nameless_one(tmp_path: Path) -> None:
    path = tmp_path / "minihs.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseUnusable, match=r"minihs.db cannot be opened: file is not a database"):
        stored_server_name(path)


def test_looking_into_a_database_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "minihs.db"
    open_database(path).close()
    with read_only(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.now(reader.maybe("INSERT INTO identity VALUES (1, 'x')"))


def test_damage_that_is_met_while_reading_is_told_once_to_whoever_ends_the_process(tmp_path: Path) -> None:
    """The header and the schema are whole, a table's pages are not."""
    path = tmp_path / "numbers.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, padding BLOB)")
        connection.executemany(
            "INSERT INTO numbers VALUES (?, zeroblob(1000))", [(number,) for number in range(100)]
        )
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xa5" * (len(whole) - 8192))
    told: list[str] = []
    with read_only(path) as reader:
        reader.on_damage(told.append)
        with pytest.raises(sqlite3.DatabaseError):
            reader.now(reader.all("SELECT * FROM numbers ORDER BY number"))
        assert told == ["The database cannot be read: database disk image is malformed."]
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            reader.now(reader.maybe("SELECT * FROM nowhere"))
    assert len(told) == 1  # a wrong statement is a bug, not damage


def test_a_reader_needs_nobody_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"no database at all" * 100)
    connection = sqlite3.connect(path)
    reader = Reader(connection)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        reader.now(reader.one("SELECT 1 FROM sqlite_master"))
    reader.close()
