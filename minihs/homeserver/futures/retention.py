"""How long outcomes of futures are kept: pruned lazily, a bounded step at a time, when others arrive.

Futures specification, 1, promise 8.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from minihs.events.ids import UserID
from minihs.futures.model import Future
from minihs.futures.policies import FutureLimits
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, BatchFailed, Writer

log = Logger()

STEP = 500
"""Most rows that one pruning deletes."""

SLACK = 64
"""How many outcomes of a user may gather before the next pruning; less when few are kept."""

_MAX_OWNERS = 10_000


class FutureRetention:
    """Forgets outcomes that are too old or too many."""

    def __init__(self, *, store: FutureStore, writer: Writer, clock: Clock, limits: FutureLimits) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._limits = limits
        self._slack = max(1, min(SLACK, limits.retention_count // 16))
        self._gathered: dict[UserID, int] = {}
        self._waiting: dict[UserID, None] = {}
        self._pruning = False

    def keeps(self, future: Future) -> bool:
        """Whether the future may still be shown: it is scheduled, or its outcome is young enough."""
        outcome = future.outcome
        return outcome is None or outcome.at_wall_ms > self.oldest_ms()

    def oldest_ms(self) -> int:
        """What was finalised by then may not be shown any more."""
        return self._clock.wall_ms() - self._limits.retention_ms

    def finalised(self, owner: UserID) -> None:
        """One more outcome of a user is kept."""
        gathered = self._gathered.get(owner, 0) + 1
        if gathered < self._slack:
            if len(self._gathered) >= _MAX_OWNERS:
                self._gathered.clear()
            self._gathered[owner] = gathered
            return
        self._gathered.pop(owner, None)
        self._waiting[owner] = None
        if not self._pruning:
            self._pruning = True
            # In a turn of its own: what comes due matters more than what goes.
            self._clock.call_later(0, self._start)

    def _start(self) -> None:
        Deferred.fromCoroutine(self._prune()).addErrback(
            lambda failure: log.failure("pruning outcomes of delayed events failed", failure)
        )

    async def _prune(self) -> None:
        try:
            while self._waiting:
                owner = next(iter(self._waiting))
                del self._waiting[owner]
                oldest_ms = self.oldest_ms()
                expired = await self._store.all_expired(oldest_ms, STEP)
                superfluous = await self._store.all_superfluous(owner, self._limits.retention_count, STEP)
                forgotten = sorted({*expired, *superfluous})
                if forgotten:
                    batch = Batch()
                    self._store.forget(batch, forgotten)
                    await self._writer.submit(batch)
        except BatchFailed as failure:
            log.warn("outcomes of delayed events were not pruned: {error}", error=failure)
        finally:
            self._pruning = False
