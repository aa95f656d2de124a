"""Stores how far each queue is, in the background. What a row means is for `sender` to know."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from minihs.events.ids import ServerName
from minihs.platform.logs import Logger
from minihs.store.destinations import DestinationRow, DestinationStore
from minihs.store.writer import Batch, Writer

log = Logger()


class CursorWriter:
    """Stores rows of destinations in the background, one write at a time, the newest row of each server."""

    def __init__(self, store: DestinationStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._dirty: dict[ServerName, DestinationRow] = {}
        self._being_written: frozenset[ServerName] = frozenset()
        self._waiting: list[Deferred[None]] = []

    def holds(self, server_name: ServerName) -> bool:
        """Whether a row of this server is not stored yet."""
        return server_name in self._dirty or server_name in self._being_written

    def save(self, row: DestinationRow) -> None:
        """Store this row soon, in place of an older one that was not written yet."""
        self._dirty[row.server_name] = row
        if not self._being_written:
            self._write()

    async def idle(self) -> None:
        """Wait until every row is stored."""
        while self._being_written:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    def _write(self) -> None:
        rows, self._dirty = self._dirty, {}
        self._being_written = frozenset(rows)
        batch = Batch()
        for _, row in sorted(rows.items()):
            self._store.put(batch, row)
        self._writer.submit(batch).addBoth(self._written)

    def _written(self, result: Failure | None) -> None:
        if isinstance(result, Failure):
            # The cursor stays behind: what was delivered since is sent once more after a restart.
            log.failure("cursors were not stored", result)
        self._being_written = frozenset()
        if self._dirty:
            self._write()
            return
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
