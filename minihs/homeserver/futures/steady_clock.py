"""The steady clock of futures: milliseconds that pass as time passes, also while the server is down.

It follows the time since the machine began to run, from one process to the next and while it is suspended,
whatever the wall clock does. Over a restart of the machine it goes on by as much as the wall clock did
meanwhile; a step of the wall clock before that is noted in the database, so that it is not taken for time
that has passed. Where the machine does not tell (`Clock.boot`), a process follows the monotonic clock, and
each restart counts as one of the machine. Futures specification, 1, promise 5.
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
    """Starts at the wall clock's time on a server's first start. `load` before use.

    `_zero_ms` is what it shows when `_elapsed_ms` is 0.
    """

    def __init__(self, clock: Clock, store: FutureStore) -> None:
        self._clock = clock
        self._store = store
        self._zero_ms = 0
        self._noted = SteadyRow(0, 0)
        self._look_again_ms = 0

    async def load(self) -> None:
        """Go on where the last process was."""
        last = await self._store.maybe_steady()
        boot = self._clock.boot()
        elapsed_ms = self._elapsed_ms()
        zero_ms = self._clock.wall_ms() - elapsed_ms
        if last is not None:
            if boot is not None and boot.id == last.boot_id and last.boot_offset_ms is not None:
                zero_ms = last.boot_offset_ms
            else:
                zero_ms -= last.offset_ms
            # A clock that fell behind (no battery, restored image) cannot undo time that has passed.
            zero_ms = max(zero_ms, last.seen_ms - elapsed_ms)
        self._zero_ms = math.floor(zero_ms)
        self._noted = last or SteadyRow(-_TOLERANCE_MS, 0)

    def passed_ms(self) -> Millis:
        """Steady time that has certainly passed: what is compared with due times."""
        return Millis(self._zero_ms + math.floor(self._elapsed_ms()))

    def now(self) -> Now:
        """The present, rounded up, for timers that start; the wall clock's time for showing."""
        return Now(Millis(self._zero_ms + math.ceil(self._elapsed_ms())), self._clock.wall_ms())

    def past(self) -> Now:
        """The present, rounded down, for deciding what is due."""
        return Now(self.passed_ms(), self._clock.wall_ms())

    def wait_ms(self, moment: int) -> float:
        """How long until `moment` has passed, if the machine stays awake."""
        return moment - self._zero_ms - self._elapsed_ms()

    def note(self, batch: Batch, *, surely: bool = False) -> bool:
        """Add to `batch` what the next process must know, if that has changed; whether it has.

        Unless it must be looked at `surely`, this is free when it was looked at a moment ago.
        """
        seen_ms = self.passed_ms()
        if seen_ms < self._look_again_ms and not surely:
            return False
        self._look_again_ms = seen_ms + _LOOK_EVERY_MS
        boot = self._clock.boot()
        run = (None, None) if boot is None else (boot.id, self._zero_ms)
        # The wall clock's milliseconds are cut off: it may be one further than it says.
        offset_ms = self._clock.wall_ms() + 1 - seen_ms
        noted = self._noted
        if (
            noted.offset_ms - _TOLERANCE_MS < offset_ms <= noted.offset_ms
            and seen_ms < noted.seen_ms + _SEEN_EVERY_MS
            and (noted.boot_id, noted.boot_offset_ms) == run
        ):
            return False
        self._noted = SteadyRow(offset_ms + _MARGIN_MS, seen_ms, *run)
        self._store.set_steady(batch, self._noted)
        return True

    def _elapsed_ms(self) -> float:
        boot = self._clock.boot()
        # A thousandth of a millisecond is below what floating point sums of seconds keep.
        return round(self._clock.monotonic_ms() if boot is None else boot.elapsed_ms, 3)
