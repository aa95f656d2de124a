"""How to write to SQLite beside a busy reactor: three ways, measured (`docs/decisions/group-commit.md`).

    python -m tests.bench.writer_variants

The main thread is kept busy with small pieces of Python work, as a server under load is; meanwhile groups of
50 rows (8 statements for each event, as `PUT /send` makes them) are stored, one group after the other.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 4.0
GROUP = 50
TABLES = ("events", "edges", "extremities", "outbound", "transactions")
Store = Callable[[int], None]


def connect(folder: str, name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(Path(folder) / name, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for table in TABLES:
        connection.execute(f"CREATE TABLE {table} (id INTEGER, name TEXT, data BLOB, PRIMARY KEY (id, name))")
    return connection


def rows(start: int) -> list[tuple[int, str, bytes]]:
    return [(start + number, f"$event{start + number}", b"x" * 600) for number in range(GROUP)]


def row_by_row(connection: sqlite3.Connection, start: int) -> None:
    """One call for each row, then COMMIT; all in whichever thread calls."""
    connection.execute("BEGIN IMMEDIATE")
    for row in rows(start):
        for table in TABLES:
            connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", row)
    connection.execute("COMMIT")


def set_based(connection: sqlite3.Connection, start: int) -> None:
    """One statement for each table and group, its rows as JSON."""
    connection.execute("BEGIN IMMEDIATE")
    encoded = json.dumps([(number, name, data.decode()) for number, name, data in rows(start)])
    for table in TABLES:
        connection.execute(
            f"INSERT INTO {table} SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)", (encoded,)
        )
    connection.execute("COMMIT")


def busy_piece() -> None:
    """About 100 microseconds of Python, as one request is."""
    sum(number * number for number in range(1_500))


def beside(store: Store) -> tuple[float, float]:
    """`store` runs in a thread of its own; (groups per second, pieces of other work per second)."""
    groups = 0
    stop = threading.Event()

    def work() -> None:
        nonlocal groups
        while not stop.is_set():
            store(groups * GROUP)
            groups += 1

    thread = threading.Thread(target=work)
    thread.start()
    pieces = 0
    ends = time.perf_counter() + SECONDS
    while time.perf_counter() < ends:
        busy_piece()
        pieces += 1
    stop.set()
    thread.join()
    return groups / SECONDS, pieces / SECONDS


def on_main(connection: sqlite3.Connection) -> tuple[float, float]:
    """Statements between the pieces of other work, COMMIT alone in a thread: what minihs does."""
    requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
    committed = threading.Event()

    def work() -> None:
        while requests.get():
            connection.execute("COMMIT")
            committed.set()

    thread = threading.Thread(target=work)
    thread.start()
    groups = pieces = 0
    under_way = False
    ends = time.perf_counter() + SECONDS
    while time.perf_counter() < ends:
        if under_way and committed.is_set():
            under_way = False
            groups += 1
        if not under_way:
            connection.execute("BEGIN IMMEDIATE")
            for row in rows(groups * GROUP):
                for table in TABLES:
                    connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", row)
            committed.clear()
            under_way = True
            requests.put(True)
        busy_piece()
        pieces += 1
    requests.put(False)
    thread.join()
    return groups / SECONDS, pieces / SECONDS


def main() -> None:
    ends = time.perf_counter() + SECONDS
    alone = 0
    while time.perf_counter() < ends:
        busy_piece()
        alone += 1
    print(f"other work alone: {alone / SECONDS:.0f} pieces/s")
    with tempfile.TemporaryDirectory() as folder:
        idle = connect(folder, "idle.db")
        started = time.perf_counter()
        groups = 0
        while time.perf_counter() - started < SECONDS:
            row_by_row(idle, groups * GROUP)
            groups += 1
        print(f"row by row, nothing beside it: {groups / SECONDS:.0f} groups/s")
        first, second, third = (connect(folder, f"{number}.db") for number in range(3))
        results = {
            "thread, row by row": beside(lambda start: row_by_row(first, start)),
            "thread, one statement a table": beside(lambda start: set_based(second, start)),
            "statements on the main thread, COMMIT in a thread": on_main(third),
        }
    for name, (rate, pieces) in results.items():
        print(f"{name}: {rate:.0f} groups/s ({rate * GROUP:.0f} events/s) beside {pieces:.0f} pieces/s")


if __name__ == "__main__":
    main()
