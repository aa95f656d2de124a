"""The steady clock of futures: milliseconds that pass as time passes, also while the server is down.

While the process lives it follows the monotonic clock; over a restart it goes on by as much as the wall clock
did meanwhile. A step of the wall clock while the process lives is noted in the database, so that the next
process does not take it for time that has passed. Futures specification, 1, promise 5.
"""

from __future__ import annotations

import math

from minihs.futures.model import Millis, Now
from minihs.platform.clock import Clock
from minihs.store.future_rows import SteadyRow
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch

_MARGIN_MS = 2
"""Kept back, so that what the two clocks drift apart between two notes makes nothing early."""

_TOLERANCE_MS = 20
"""How much later than necessary the clock may go on after a restart before it is noted anew."""

_SEEN_EVERY_MS = 60_000

_LOOK_EVERY_MS = 1_000
"""How often the clocks are compared when there is much to do: each heartbeat asks."""


class SteadyClock:
    """Starts at the wall clock's time on a server's first start. `load` before use."""

    def __init__(self, clock: Clock, store: FutureStore) -> None:
        self._clock = clock
        self._store = store
        self._anchor_ms = 0
        self._anchor_monotonic_ms = 0.0
        self._noted = SteadyRow(0, 0)
        self._look_again_ms = 0

    async def load(self) -> None:
        """Go on where the last process was, as far as the wall clock tells."""
        last = await self._store.maybe_steady()
        wall_ms = self._clock.wall_ms()
        self._anchor_monotonic_ms = self._clock.monotonic_ms()
        # A wall clock that fell behind (no battery, restored image) cannot undo time that has passed.
        self._anchor_ms = wall_ms if last is None else max(wall_ms - last.offset_ms, last.seen_ms)
        self._noted = last or SteadyRow(-_TOLERANCE_MS, 0)

    def passed_ms(self) -> Millis:
        """Steady time that has certainly passed: what is compared with due times."""
        return Millis(self._anchor_ms + math.floor(self._elapsed_ms()))

    def now(self) -> Now:
        """The present, rounded up, for timers that start; the wall clock's time for showing."""
        return Now(Millis(self._anchor_ms + math.ceil(self._elapsed_ms())), self._clock.wall_ms())

    def past(self) -> Now:
        """The present, rounded down, for deciding what is due."""
        return Now(self.passed_ms(), self._clock.wall_ms())

    def wait_ms(self, moment: int) -> float:
        """How long until `moment` has passed."""
        return moment - self._anchor_ms - self._elapsed_ms()

    def note(self, batch: Batch, *, surely: bool = False) -> bool:
        """Add to `batch` what the next process must know, if that has changed; whether it has.

        Unless it must be looked at `surely`, this is free when it was looked at a moment ago.
        """
        seen_ms = self.passed_ms()
        if seen_ms < self._look_again_ms and not surely:
            return False
        self._look_again_ms = seen_ms + _LOOK_EVERY_MS
        # The wall clock's milliseconds are cut off: it may be one further than it says.
        offset_ms = self._clock.wall_ms() + 1 - seen_ms
        noted = self._noted
        if (
            noted.offset_ms - _TOLERANCE_MS < offset_ms <= noted.offset_ms
            and seen_ms < noted.seen_ms + _SEEN_EVERY_MS
        ):
            return False
        self._noted = SteadyRow(offset_ms + _MARGIN_MS, seen_ms)
        self._store.set_steady(batch, self._noted)
        return True

    def _elapsed_ms(self) -> float:
        # A thousandth of a millisecond is below what floating point sums of seconds keep.
        return round(self._clock.monotonic_ms() - self._anchor_monotonic_ms, 3)
