"""Time's part in futures: one timer, and sends in slices so that the server keeps answering others.

Whether something is due is the engine's to say: a wake-up here may be early, late or repeated.
Futures specification, 1, promises 5, 6 and 7.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from minihs.futures.model import FutureID, Millis
from minihs.homeserver.futures.due_times import DueTimes
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger
from minihs.store.writer import Batch, Writer

log = Logger()

SLICE_MS = 5.0
"""How long sends are started before others get their turn."""

SLICE_SENDS = 16
"""The same as a number, for clocks that stand still."""

MAX_UNDER_WAY = 500
"""Sends that may wait for the disk at once; more would only be memory."""

LONGEST_SLEEP_MS = 10_000
"""While something is scheduled the clocks are looked at this often: a step of the wall clock is noted, and
what came due while the machine was suspended is sent."""


class DueSender(Protocol):
    """Sends what is due (`FutureSending`)."""

    async def when_due(self, future_id: FutureID, *, overdue: bool = False) -> None:
        """May be called early, late, repeatedly, and for a future that waits no more."""


class Scheduler:
    """Wakes when the next future is due. `start` after everything is loaded; `stop` before the writer."""

    def __init__(
        self, *, clock: Clock, steady: SteadyClock, due_times: DueTimes, sender: DueSender, writer: Writer
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._due_times = due_times
        self._sender = sender
        self._writer = writer
        self._timer: IDelayedCall | None = None
        self._wakes_at_ms = 0.0
        self._running = False
        self._refilling = False
        self._under_way = 0
        self._started_ms = Millis(0)
        self._idle: list[Deferred[None]] = []

    async def start(self) -> None:
        """Read the first due times and begin; what is overdue goes out at once, outside any budget."""
        self._started_ms = self._steady.passed_ms()
        await self._due_times.refill()
        self._running = True
        self._due_times.on_earlier = self._arm
        if self._due_times.first_ms() is not None:
            self._note()
        self._arm()

    async def stop(self) -> None:
        """Start nothing more and wait for the sends that are under way."""
        self._running = False
        if self._timer is not None:
            cast(Any, self._timer).cancel()
            self._timer = None
        if self._under_way:
            waiting: Deferred[None] = Deferred()
            self._idle.append(waiting)
            await waiting
        batch = Batch()
        if self._steady.note(batch, surely=True):
            await self._writer.submit(batch)

    def _arm(self) -> None:
        """Set the one timer to the next due time, unless it rings early enough."""
        if not self._running:
            return
        first_ms = self._due_times.first_ms()
        if first_ms is None:
            return
        wait_ms = min(max(0.0, self._steady.wait_ms(first_ms)), LONGEST_SLEEP_MS)
        wakes_at_ms = self._clock.monotonic_ms() + wait_ms
        if self._timer is not None:
            if self._wakes_at_ms <= wakes_at_ms:
                return
            cast(Any, self._timer).cancel()
        self._wakes_at_ms = wakes_at_ms
        self._timer = self._clock.call_later(wait_ms, self._wake)

    def _wake(self) -> None:
        """Start what is due, for as long as a slice lasts."""
        self._timer = None
        self._note()
        passed_ms = self._steady.passed_ms()
        ends_ms = self._clock.monotonic_ms() + SLICE_MS
        for _ in range(SLICE_SENDS):
            if self._under_way >= MAX_UNDER_WAY:
                return  # the end of one of them goes on here
            entry = self._due_times.take(passed_ms)
            if entry is None:
                break
            self._begin(*entry)
            if self._clock.monotonic_ms() >= ends_ms:
                break
        if not self._refilling:
            self._refilling = True
            Deferred.fromCoroutine(self._refill()).addErrback(_log_failure)
        self._arm()

    def _note(self) -> None:
        """Let the next process know of steps of the wall clock."""
        batch = Batch()
        if self._steady.note(batch, surely=True):
            self._writer.submit(batch).addErrback(_log_failure)

    async def _refill(self) -> None:
        try:
            await self._due_times.refill()
        finally:
            self._refilling = False

    def _begin(self, due_ms: int, future_id: FutureID) -> None:
        self._under_way += 1
        sending = Deferred.fromCoroutine(self._sender.when_due(future_id, overdue=due_ms <= self._started_ms))
        sending.addErrback(_log_failure).addBoth(self._ended)

    def _ended(self, _: None) -> None:
        self._under_way -= 1
        if self._under_way == MAX_UNDER_WAY - 1:
            self._arm()
        if not self._under_way:
            waiters, self._idle = self._idle, []
            for waiter in waiters:
                waiter.callback(None)


def _log_failure(failure: Failure) -> None:
    log.failure("the scheduler of delayed events failed", failure)
