"""Opening the database: what is refused, why, and that a refusal changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from minihs.store.database import APPLICATION_ID, DatabaseUnusable, explained, latest_version, open_database


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
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i FROM n);"
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
        database.claim("here.example")
        database.claim("here.example")
        with pytest.raises(DatabaseUnusable, match=r"belongs to the server here\.example"):
            database.claim("elsewhere.example")
