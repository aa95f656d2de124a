"""The one writer: batches become durable in groups, one SQLite transaction and one sync for many of them.

The statements of a group run on the main thread, where they cost a few microseconds each and hand nobody the
interpreter lock; only COMMIT, which waits for the disk, runs in a worker. Batches that arrive meanwhile form
the next group. A long group gives control back every SLICE_MS, its transaction staying open.
`docs/decisions/group-commit.md` has the measurements.

A group runs without savepoints first. When a batch in it breaks a constraint, the group is rolled back and
run again with a savepoint for each batch, so that the bad one fails alone. Any other error of the database
(disk full, I/O, corruption) is fatal: nothing of the group is acknowledged and the process ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from minihs.platform.clock import Clock
from minihs.platform.logs import Logger
from minihs.platform.workers import Workers
from minihs.store.reader import Params

log = Logger()

# What a batch can do wrong on its own: a broken constraint, or a value that SQLite cannot hold.
_BAD_BATCH = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError)

SLICE_MS = 10
"""How long the statements of a group may keep the main thread before others get their turn."""

_LOOK_EVERY = 8
"""Statements between two looks at the clock; as many as an event has."""

ROWS_AT_ONCE = 500
"""Rows that one statement should add, at 3 µs each: nothing interrupts a statement."""


class BatchFailed(Exception):
    """The batch was not stored, and nothing of it was: it broke a constraint, or an earlier one of its chain
    failed."""


class WriterStopped(Exception):
    """The writer no longer takes batches: the server is stopping."""


class Batch:
    """Statements that become durable together or not at all, in the order in which they were added."""

    __slots__ = ("statements",)

    def __init__(self) -> None:
        self.statements: list[tuple[str, Params]] = []

    def add(self, sql: str, params: Params = ()) -> None:
        """Append one statement that changes rows."""
        self.statements.append((sql, params))

    def add_rows(self, sql: str, params: tuple[Any, ...], rows: Sequence[object]) -> None:
        """Append a statement that takes many rows from its last parameter, a JSON list; or several, of
        ROWS_AT_ONCE rows each."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            share = msgspec.json.encode(rows[start : start + ROWS_AT_ONCE]).decode()
            self.statements.append((sql, (*params, share)))


class _Entry(msgspec.Struct):
    batch: Batch
    chain: str | None
    done: Deferred[None] = msgspec.field(default_factory=Deferred)
    failure: BatchFailed | None = None


GroupObserver = Callable[[int, float], None]


class Writer:
    """Makes batches durable in the order of their submission.

    `workers` runs COMMIT and must have a single thread; `on_fatal` is called once, with a sentence, when the
    database can no longer be written.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        clock: Clock,
        workers: Workers,
        on_fatal: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._workers = workers
        self._on_fatal = on_fatal
        self._pending: list[_Entry] = []
        self._broken_chains: set[str] = set()
        self._busy = False
        self._stopped = False
        self._idle_waiters: list[Deferred[None]] = []
        self._observer: GroupObserver | None = None

    def observe(self, observer: GroupObserver) -> None:
        """Tell one observer of every group: how many batches, and the seconds until they were durable."""
        self._observer = observer

    def submit(self, batch: Batch, chain: str | None = None) -> Deferred[None]:
        """Queue `batch`; the Deferred fires once it is durable, or fails with BatchFailed.

        Batches with the same `chain` depend on one another: when one fails, those that were submitted after
        it and before its failure was reported fail too.
        """
        entry = _Entry(batch, chain)
        if self._stopped:
            entry.done.errback(WriterStopped("The server is stopping."))
            return entry.done
        self._pending.append(entry)
        if not self._busy:
            self._busy = True
            # At the end of this turn of the reactor, so that everything that is readable now shares a sync.
            self._clock.call_later(0, self._write_group)
        return entry.done

    async def stop(self) -> None:
        """Wait until everything that was submitted is durable, then take nothing more."""
        while self._busy:
            waiting: Deferred[None] = Deferred()
            self._idle_waiters.append(waiting)
            await waiting
        self._stopped = True

    def _write_group(self) -> None:
        group, self._pending = self._pending, []
        self._go_on(group, self._run(group), self._clock.monotonic_ms())

    def _go_on(self, group: list[_Entry], running: Iterator[None], started_ms: float) -> None:
        """Run the statements of the group for a while; when none is left, commit."""
        now_ms = self._clock.monotonic_ms
        ends_ms = now_ms() + SLICE_MS
        try:
            for _ in running:
                if now_ms() > ends_ms:
                    self._clock.call_later(0, self._go_on, group, running, started_ms)
                    return
        except sqlite3.Error as error:
            self._fatal(f"The database cannot be written: {error}.")
            return
        committing = self._workers.run(self._commit)
        committing.addCallbacks(self._group_committed, self._commit_failed, callbackArgs=(group, started_ms))

    def _commit(self) -> None:
        self._connection.execute("COMMIT")

    def _run(self, group: list[_Entry]) -> Iterator[None]:
        """The statements of the group, with pauses in which the caller may leave it for a while."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for entry in group:
                for number, (sql, params) in enumerate(entry.batch.statements):
                    execute(sql, params)
                    if number % _LOOK_EVERY == _LOOK_EVERY - 1:
                        yield
                yield
        except _BAD_BATCH as error:
            log.warn("a batch broke a constraint ({error}); running its group batch by batch", error=error)
            execute("ROLLBACK")
            execute("BEGIN IMMEDIATE")
            for entry in group:
                self._run_alone(entry)
                yield

    def _run_alone(self, entry: _Entry) -> None:
        if entry.chain is not None and entry.chain in self._broken_chains:
            entry.failure = BatchFailed("An earlier batch that this one builds on was not stored.")
            return
        execute = self._connection.execute
        execute("SAVEPOINT batch")
        try:
            for sql, params in entry.batch.statements:
                execute(sql, params)
        except _BAD_BATCH as error:
            execute("ROLLBACK TO batch")
            entry.failure = BatchFailed(str(error))
            entry.failure.__cause__ = error
            if entry.chain is not None:
                self._broken_chains.add(entry.chain)
        execute("RELEASE batch")

    def _group_committed(self, _: None, group: list[_Entry], started_ms: float) -> None:
        if self._observer is not None:
            self._observer(len(group), (self._clock.monotonic_ms() - started_ms) / 1000)
        if self._broken_chains:
            group = group + self._pull_broken()
        # The next group starts before anybody is told of this one: what they submit joins the one after.
        if self._pending:
            self._clock.call_later(0, self._write_group)
        else:
            self._busy = False
        for entry in group:
            if entry.failure is None:
                entry.done.callback(None)
            else:
                entry.done.errback(entry.failure)
        if not self._busy:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiting in waiters:
                waiting.callback(None)

    def _pull_broken(self) -> list[_Entry]:
        """Take from the queue what was built on a batch that has failed."""
        broken = [entry for entry in self._pending if entry.chain in self._broken_chains]
        self._pending = [entry for entry in self._pending if entry.chain not in self._broken_chains]
        for entry in broken:
            entry.failure = BatchFailed("An earlier batch that this one builds on was not stored.")
        self._broken_chains.clear()
        return broken

    def _commit_failed(self, failure: Failure) -> None:
        self._fatal(f"The database cannot be written: {failure.getErrorMessage()}.")

    def _fatal(self, sentence: str) -> None:
        # Whoever waits is never answered: a reply could be a lie in either direction.
        self._stopped = True
        self._on_fatal(sentence)
