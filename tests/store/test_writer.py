"""Group commit: together or not at all, alone when bad, chained, and the end when the disk fails."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.database import MemoryConnection
from minihs.store.writer import Batch, BatchFailed, Writer, WriterStopped
from tests.support.deferreds import finish, run


class Table:
    """A writer over one table of unique numbers."""

    def __init__(self, connection: Any = None, workers: InlineWorkers | None = None) -> None:
        self.clock = VirtualClock()
        self.connection = connection or MemoryConnection(":memory:", isolation_level=None)
        self.connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
        self.fatal: list[str] = []
        self.writer = Writer(
            self.connection,
            clock=self.clock,
            workers=workers or InlineWorkers(),
            on_fatal=self.fatal.append,
        )

    def submit(self, *numbers: object, chain: str | None = None) -> Any:
        batch = Batch()
        for number in numbers:
            batch.add("INSERT INTO numbers VALUES (?)", (number,))
        return self.writer.submit(batch, chain)

    def stored(self) -> list[int]:
        return [number for (number,) in self.connection.execute("SELECT number FROM numbers ORDER BY 1")]


def test_a_batch_is_acknowledged_only_once_it_is_committed() -> None:
    table = Table()
    done = table.submit(1, 2)
    assert not done.called
    assert not table.connection.in_transaction
    finish(table.clock, done)
    assert table.stored() == [1, 2]
    assert not table.connection.in_transaction


def test_batches_of_one_turn_share_a_transaction() -> None:
    statements: list[str] = []
    table = Table()
    table.connection.set_trace_callback(statements.append)
    waiting = [table.submit(number) for number in range(5)]
    for done in waiting:
        finish(table.clock, done)
    assert [statement for statement in statements if statement == "COMMIT"] == ["COMMIT"]


def test_a_bad_batch_fails_alone_and_whole() -> None:
    table = Table()
    good, bad, other = table.submit(1), table.submit(2, 1), table.submit(3)
    finish(table.clock, good)
    with pytest.raises(BatchFailed, match="UNIQUE"):
        finish(table.clock, bad)
    finish(table.clock, other)
    assert table.stored() == [1, 3]


def test_what_was_built_on_a_failed_batch_fails_with_it_and_other_chains_do_not() -> None:
    table = Table()
    first = table.submit(1, chain="room")
    bad = table.submit(1, chain="room")
    built_on_it = table.submit(2, chain="room")
    elsewhere = table.submit(3, chain="other")
    finish(table.clock, first)
    for done in (bad, built_on_it):
        with pytest.raises(BatchFailed):
            finish(table.clock, done)
    finish(table.clock, elsewhere)
    assert table.stored() == [1, 3]
    finish(table.clock, table.submit(4, chain="room"))
    assert table.stored() == [1, 3, 4]


class HeldWorkers(InlineWorkers):
    """Workers whose results are held back, as a slow disk holds back a commit."""

    def __init__(self) -> None:
        self.held: list[tuple[Deferred[Any], Any]] = []

    def run(self, work: Any, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.held.append((waiting, super().run(work, *args, **kwargs)))
        return waiting

    def release(self) -> None:
        held, self.held = self.held, []
        for waiting, result in held:
            waiting.callback(result)


def test_what_is_submitted_while_the_failed_batch_is_committed_fails_with_it_too() -> None:
    workers = HeldWorkers()
    table = Table(workers=workers)
    first = table.submit(1, chain="room")
    bad = table.submit(1, chain="room")
    table.clock.advance(0)
    built_on_it = table.submit(2, chain="room")
    elsewhere = table.submit(3, chain="other")
    for _ in range(2):
        workers.release()
        table.clock.advance(0)
    finish(table.clock, first)
    for done in (bad, built_on_it):
        with pytest.raises(BatchFailed):
            finish(table.clock, done)
    finish(table.clock, elsewhere)
    assert table.stored() == [1, 3]


def test_stopping_waits_for_what_was_submitted_and_then_takes_nothing() -> None:
    table = Table()
    done = table.submit(1)
    run(table.clock, table.writer.stop())
    assert done.called
    assert table.stored() == [1]
    with pytest.raises(WriterStopped):
        finish(table.clock, table.submit(2))


class FullDisk(MemoryConnection):
    """A connection whose commits fail as on a full disk, once it is told so."""

    full = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if self.full and sql == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *args)


def test_a_full_disk_is_reported_once_and_nobody_is_told_that_their_batch_is_stored() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=FullDisk)
    table = Table(connection)
    connection.full = True
    first, second = table.submit(1), table.submit(2)
    table.clock.advance(1)
    assert table.fatal == ["The database cannot be written: database or disk is full."]
    assert not first.called
    assert not second.called
    with pytest.raises(WriterStopped):
        finish(table.clock, table.submit(3))


class SlowDisk(MemoryConnection):
    """A connection on which each statement that changes rows takes four milliseconds of virtual time."""

    clock: VirtualClock

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql.startswith("INSERT"):
            self.clock.rightNow += 0.004
        return super().execute(sql, *args)


def slow_table() -> Table:
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=SlowDisk)
    table = Table(connection)
    connection.clock = table.clock
    return table


def test_a_long_group_lets_others_have_a_turn_and_is_acknowledged_only_when_all_of_it_is_committed() -> None:
    table = slow_table()
    long, other = table.submit(*range(20)), table.submit(20)
    turns: list[tuple[int, bool]] = []

    def take_turn() -> None:
        turns.append((len(table.stored()), table.connection.in_transaction))
        if not other.called:
            table.clock.call_later(0, take_turn)

    table.clock.call_later(0, take_turn)
    while not other.called:
        table.clock.advance(0)
    assert [stored for stored, open_ in turns if open_] == [8, 16, 20], "after eight statements, 32 ms"
    assert long.called
    assert table.stored() == list(range(21))


def test_what_is_submitted_while_a_long_group_gives_way_waits_for_the_next_one() -> None:
    table = slow_table()
    first = table.submit(*range(20))
    later: list[Any] = []

    def submit_more() -> None:
        assert table.connection.in_transaction
        later.append(table.submit(100, 0))

    table.clock.call_later(0, submit_more)
    finish(table.clock, first)
    with pytest.raises(BatchFailed, match="UNIQUE"):
        finish(table.clock, later[0])
    assert table.stored() == list(range(20))


def test_a_bad_batch_fails_alone_also_in_a_group_that_gave_way() -> None:
    table = slow_table()
    good, bad, other = table.submit(*range(20)), table.submit(100, 5), table.submit(200)
    finish(table.clock, good)
    with pytest.raises(BatchFailed, match="UNIQUE"):
        finish(table.clock, bad)
    finish(table.clock, other)
    assert table.stored() == [*range(20), 200]


@pytest.mark.parametrize(("count", "statements"), [(0, 0), (1, 1), (500, 1), (501, 2), (1_200, 3)])
def test_many_rows_are_added_some_hundreds_at_a_time(count: int, statements: int) -> None:
    table = Table()
    batch = Batch()
    sql = "INSERT INTO numbers SELECT value + ? FROM json_each(?)"
    batch.add_rows(sql, (1_000,), list(range(count)))
    assert len(batch.statements) == statements
    finish(table.clock, table.writer.submit(batch))
    assert table.stored() == [1_000 + number for number in range(count)]
