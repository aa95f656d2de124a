"""The timer index: the next due times in memory, the rest in the store.

Knows when, and nothing about what. An entry may be early, late, repeated or of a future that no longer waits:
whoever takes it asks the engine.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable

from minihs.futures.model import FutureID

Entry = tuple[int, FutureID]
"""A due time (steady clock) and a future, in the order in which they are sent."""

END: Entry = (2**62, FutureID(0))

LoadAfter = Callable[[Entry, int], Awaitable[list[Entry]]]
"""Stored timers behind an entry, in order, at most so many."""


class DueTimes:
    """Up to `window` timers, the earliest; all that are due up to a horizon are here."""

    def __init__(self, load_after: LoadAfter, *, window: int = 50_000) -> None:
        self._load_after = load_after
        self._window = window
        self._horizon: Entry = (-1, FutureID(0))
        self._times: dict[FutureID, int] = {}
        self._heap: list[Entry] = []
        self._queued: dict[FutureID, int] = {}
        self._loading: list[Entry] | None = None
        self.on_earlier: Callable[[], None] = lambda: None
        """Called when the first entry is earlier than it was."""

    def __len__(self) -> int:
        return len(self._times)

    async def refill(self) -> None:
        """Read from the store what comes next, when little is left in memory."""
        if self._horizon == END or len(self._times) > self._window // 4 or self._loading is not None:
            return
        self._loading = []
        try:
            count = self._window // 2
            entries = await self._load_after(self._horizon, count)
            self._horizon = END if len(entries) < count else entries[-1]
        finally:
            # What was stored while the store was being read may be missing in the answer.
            missed, self._loading = self._loading, None
        for due_ms, future_id in entries:
            if future_id not in self._times:
                self._put(due_ms, future_id)
        for due_ms, future_id in missed:
            self.set(due_ms, future_id)
        self.on_earlier()

    def set(self, due_ms: int, future_id: FutureID) -> None:
        """The timer of a future, once it is durable; replaces the one it had."""
        if self._loading is not None:
            self._loading.append((due_ms, future_id))
        if (due_ms, future_id) > self._horizon:
            self._times.pop(future_id, None)
            return
        first = self._heap[0][0] if self._heap else None
        self._put(due_ms, future_id)
        if len(self._times) > self._window:
            self._trim()
        if first is None or due_ms < first:
            self.on_earlier()

    def again(self, moment_ms: int, future_id: FutureID) -> None:
        """Bring up a future at another moment than the store has for it."""
        self._put(moment_ms, future_id)
        self.on_earlier()

    def discard(self, future_id: FutureID) -> None:
        """The future waits no more."""
        self._times.pop(future_id, None)

    def first_ms(self) -> int | None:
        """The earliest due time in memory; None when nothing waits here."""
        heap = self._heap
        while heap:
            due_ms, future_id = heap[0]
            if self._queued.get(future_id) != due_ms:
                heapq.heappop(heap)
                continue
            current = self._times.get(future_id)
            if current == due_ms:
                return due_ms
            heapq.heappop(heap)
            del self._queued[future_id]
            if current is not None:  # it was restarted since: a heartbeat costs no work on the heap
                self._push(current, future_id)
        return None

    def take(self, passed_ms: int) -> Entry | None:
        """The earliest entry that is due by now, once."""
        first = self.first_ms()
        if first is None or first > passed_ms:
            return None
        entry = heapq.heappop(self._heap)
        del self._queued[entry[1]]
        del self._times[entry[1]]
        return entry

    def _put(self, due_ms: int, future_id: FutureID) -> None:
        self._times[future_id] = due_ms
        queued = self._queued.get(future_id)
        if queued is None or due_ms < queued:
            self._push(due_ms, future_id)

    def _push(self, due_ms: int, future_id: FutureID) -> None:
        self._queued[future_id] = due_ms
        heapq.heappush(self._heap, (due_ms, future_id))

    def _trim(self) -> None:
        """Leave the later half to the store."""
        entries = sorted((due_ms, future_id) for future_id, due_ms in self._times.items())
        entries = entries[: self._window // 2]
        self._horizon = entries[-1]
        self._heap = entries
        self._times = {future_id: due_ms for due_ms, future_id in entries}
        self._queued = dict(self._times)
