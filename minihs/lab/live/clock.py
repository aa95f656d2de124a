"""The clocks of a real process, which go on by themselves and can be turned: to where and when is told here.

What is turned is this process's idea of time alone; sockets, threads and other servers live in the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall

from minihs.lab.clocks import Timer, WorldClock
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger

log = Logger()


class LiveClock(WorldClock):
    """Real time, `ahead_ms` of it later. While it is `held`, it stands still and calls nothing by itself.

    Its timers are its own, so that those of sockets and TLS, which are the reactor's, stay in real time.
    """

    def __init__(self, real: Clock, *, ahead_ms: int = 0) -> None:
        super().__init__(real.wall_ms() + ahead_ms)
        self._real = real
        self._began_ms = real.monotonic_ms()
        self._turned_us = 0
        self._wake: IDelayedCall | None = None
        self._wake_us = 0
        self.held = False

    # What a clock is asked.

    def wall_ms(self) -> int:
        self.read_us()
        return super().wall_ms()

    def monotonic_ms(self) -> float:
        return self.read_us() / 1000

    def seconds(self) -> float:
        return self.read_us() / 1e6

    @property
    def ahead_ms(self) -> int:
        """How far its wall clock is ahead of the machine's."""
        return self.wall_ms() - self._real.wall_ms()

    def timer(self, delay_ms: float, call: Callable[..., object], args: Any, kwargs: Any) -> Timer:
        self.read_us()
        timer = super().timer(delay_ms, call, args, kwargs)
        self._arm()
        return timer

    def move(self, timer: Timer, due_us: int) -> None:
        super().move(timer, due_us)
        self._arm()

    def read_us(self) -> int:
        if not self.held:
            self.now_us = max(self.now_us, self._real_us() + self._turned_us)
        return self.now_us

    # What turns it.

    def hold(self) -> None:
        """Stand still."""
        self.read_us()
        self.held = True
        self._disarm()

    def release(self) -> None:
        """Go on from where it was turned to."""
        self._turned_us = self.now_us - self._real_us()
        self.held = False
        self._arm()

    def fire(self) -> int:
        """Make every call that is due now, in order; how many. What they set off is for the next time,
        so that others get a turn. A call that fails is logged."""
        known, count = self._sequence, 0
        while (due_us := self.next_us()) is not None and due_us <= self.now_us:
            if self._timers[0][1] > known:
                break
            count += 1
            try:
                self.turn()
            except Exception:  # noqa: BLE001 - as the reactor treats its own
                log.failure("a timer failed")
        return count

    def _real_us(self) -> int:
        return int((self._real.monotonic_ms() - self._began_ms) * 1000)

    def _arm(self) -> None:
        """Have the reactor wake us for the next call."""
        if self.held:
            return
        due_us = self.next_us()
        if due_us is None or (self._wake is not None and self._wake_us <= due_us):
            return
        self._disarm()
        self._wake_us = due_us
        self._wake = self._real.call_later(max(0, due_us - self.now_us) / 1000, self._woken)

    def _disarm(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            cast(Any, wake).cancel()

    def _woken(self) -> None:
        self._wake = None
        self.read_us()
        self.fire()
        self._arm()
