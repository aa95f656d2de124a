"""Takes out of the outbound log what every destination has. What is sent, and when, is `sender`'s to know.

Only stored cursors count, so whatever a restart would send again stays. A server that is away keeps the rows
of its own sets and nobody else's.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from minihs.platform.logs import Logger
from minihs.store.destinations import DestinationStore
from minihs.store.writer import Batch, BatchFailed, Writer, WriterStopped

log = Logger()

PRUNE_AFTER = 1_000
"""Events delivered (each destination counts) between two passes."""
ROWS_AT_ONCE = 2_000
"""Rows of one set that a pass takes out, more than come between two: it catches up after an outage."""
SETS_AT_ONCE = 100


class LogPruning:
    """Counts what is delivered, and goes through the log now and then."""

    def __init__(self, store: DestinationStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._delivered = 0
        self._running = False

    def delivered(self, events: int) -> None:
        """So many events have been delivered to one destination."""
        self._delivered += events
        if self._delivered >= PRUNE_AFTER and not self._running:
            self.begin()

    def begin(self) -> None:
        """Go through the log in the background."""
        self._delivered = 0
        self._running = True
        Deferred.fromCoroutine(self._prune()).addErrback(_failed).addCallback(self._ended)

    async def _prune(self) -> None:
        after_set = 0
        while found := await self._store.all_delivered(after_set, SETS_AT_ONCE):
            for rows in found:
                batch = Batch()
                self._store.drop_delivered(batch, rows, ROWS_AT_ONCE)
                await self._writer.submit(batch)
            after_set = found[-1].destination_set

    def _ended(self, _: None) -> None:
        self._running = False


def _failed(failure: Failure) -> None:
    # The rows stay until the next pass.
    if not failure.check(BatchFailed, WriterStopped):  # type: ignore[no-untyped-call]
        log.failure("the outbound log could not be pruned", failure)
