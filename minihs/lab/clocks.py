"""The time of a world, and each server's view of it: skewed, drifting, gone when the process is killed.

Time stands still until somebody asks for the next thing to happen; then it jumps there. Order is that of due
times and, among equals, of scheduling, so that a world repeats itself exactly.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Any, cast

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from minihs.platform.clock import Boot

WORLD_BEGINS_MS = 1_700_000_000_000
"""Wall time at the beginning of every world (14 November 2023, 22:13:20 UTC)."""


@implementer(IDelayedCall)
class Timer:
    """A call that is to be made. Seconds in Twisted's interface, microseconds inside."""

    __slots__ = ("_clock", "args", "call", "due_us", "kwargs", "state")

    def __init__(
        self, clock: WorldClock, due_us: int, call: Callable[..., object], args: Any, kwargs: Any
    ) -> None:
        self._clock = clock
        self.due_us = due_us
        self.call = call
        self.args = args
        self.kwargs = kwargs
        self.state = "waiting"

    def active(self) -> bool:
        return self.state == "waiting"

    def cancel(self) -> None:
        self._check()
        self.state = "cancelled"
        self._clock.cancelled()

    def getTime(self) -> float:  # noqa: N802
        return self.due_us / 1e6

    def reset(self, seconds: float) -> None:
        """Due in so many seconds from now instead."""
        self._check()
        self._clock.move(self, self._clock.read_us() + _microseconds(seconds * 1000))

    def delay(self, seconds: float) -> None:
        """Due so many seconds later than it was."""
        self._check()
        self._clock.move(self, self.due_us + _microseconds(seconds * 1000))

    def _check(self) -> None:
        if self.state == "called":
            raise cast(Any, AlreadyCalled)()
        if self.state == "cancelled":
            raise cast(Any, AlreadyCancelled)()


class WorldClock:
    """True time: what no server of the world can read directly."""

    def __init__(self, begins_ms: int = WORLD_BEGINS_MS) -> None:
        self.now_us = 0
        self._begins_ms = begins_ms
        self._timers: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0

    # What a clock is asked.

    def wall_ms(self) -> int:
        return self._begins_ms + self.now_us // 1000

    def monotonic_ms(self) -> float:
        return self.now_us / 1000

    def seconds(self) -> float:
        return self.now_us / 1e6

    def boot(self) -> Boot | None:
        """The machines of a world do not tell: over a restart servers must go by their wall clocks, which is
        the harder way."""
        return None

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        return cast(IDelayedCall, self.timer(delay_ms, call, args, {}))

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> IDelayedCall:  # noqa: N802
        return cast(IDelayedCall, self.timer(delay * 1000, call, args, kwargs))

    def timer(self, delay_ms: float, call: Callable[..., object], args: Any, kwargs: Any) -> Timer:
        """A call in `delay_ms`, which are rounded up: nothing is ever early."""
        timer = Timer(self, self.now_us + _microseconds(delay_ms), call, args, kwargs)
        self._push(timer)
        return timer

    def step_wall(self, delta_ms: int) -> None:
        """Let it be another date; no time passes."""
        self._begins_ms += delta_ms

    # What drives it.

    def advance(self, seconds: float) -> None:
        """Let time pass, with everything that falls due on the way happening at its own moment."""
        self.run_until_us(self.now_us + _microseconds(seconds * 1000))

    def run_until_us(self, moment_us: int) -> None:
        """Make every call that is due by then, and stop there."""
        while True:
            due_us = self.next_us()
            if due_us is None or due_us > moment_us:
                break
            self.turn()
        self.now_us = max(self.now_us, moment_us)

    def next_us(self) -> int | None:
        """When the next call is due; None when nothing is waited for."""
        timers = self._timers
        while timers:
            due_us, _, timer = timers[0]
            if timer.state == "waiting" and timer.due_us == due_us:
                return due_us
            heapq.heappop(timers)
            if timer.state == "waiting":  # it was put off
                self._push(timer)
        return None

    def turn(self) -> None:
        """Jump to the next call and make it; there must be one (`next_us`)."""
        due_us, _, timer = heapq.heappop(self._timers)
        self.now_us = max(self.now_us, due_us)
        timer.state = "called"
        timer.call(*timer.args, **timer.kwargs)

    def waiting(self) -> Iterator[Timer]:
        """The calls that are to be made, the next first."""
        return (timer for _, _, timer in sorted(self._timers, key=_order) if timer.state == "waiting")

    # What timers need.

    def read_us(self) -> int:
        """The time now; a clock that goes on by itself looks."""
        return self.now_us

    def move(self, timer: Timer, due_us: int) -> None:
        """Make the call at another moment; put off, it is found anew when its old moment comes."""
        earlier = due_us < timer.due_us
        timer.due_us = due_us
        if earlier:
            self._push(timer)

    def cancelled(self) -> None:
        """Sweep when most of what is kept waits for nothing any more."""
        self._cancelled += 1
        if self._cancelled > 1_000 and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].state == "waiting"]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _push(self, timer: Timer) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (timer.due_us, self._sequence, timer))


class ServerClock:
    """The clocks of one server process: wall time off by `skew_ms`, both running `rate` times as fast as true
    time. After `stop` nothing is called any more, as in a process that was killed."""

    def __init__(self, world: WorldClock, *, skew_ms: int = 0, rate: float = 1.0) -> None:
        self._world = world
        self._skew_ms = skew_ms
        self._rate = rate
        self._stopped = False

    def wall_ms(self) -> int:
        if self._rate == 1.0:
            return self._world.wall_ms() + self._skew_ms
        return self._world.wall_ms() - self._world.now_us // 1000 + int(self.monotonic_ms()) + self._skew_ms

    def monotonic_ms(self) -> float:
        return round(self._world.now_us * self._rate / 1000, 3)

    def seconds(self) -> float:
        return self.monotonic_ms() / 1000

    def boot(self) -> Boot | None:
        return self._world.boot()

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        return cast(IDelayedCall, self._timer(delay_ms, call, args, {}))

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> IDelayedCall:  # noqa: N802
        return cast(IDelayedCall, self._timer(delay * 1000, call, args, kwargs))

    def step(self, delta_ms: int) -> None:
        """Move the wall clock alone, as an administrator or NTP would."""
        self._skew_ms += delta_ms

    @property
    def skew_ms(self) -> int:
        """How far the wall clock is ahead of the truth."""
        return self._skew_ms

    def stop(self) -> None:
        """The process is gone."""
        self._stopped = True

    def _timer(self, delay_ms: float, call: Callable[..., object], args: Any, kwargs: Any) -> Timer:
        return self._world.timer(max(0.0, delay_ms) / self._rate, self._call, (call, *args), kwargs)

    def _call(self, call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        if not self._stopped:
            call(*args, **kwargs)


def _microseconds(ms: float) -> int:
    # A billionth of a second is what adding floating point numbers may add. Whoever waits for any time at all
    # must find that some has passed, or would wait for the rest for ever.
    return max(1, math.ceil(ms * 1000 - 1e-3)) if ms > 0 else 0


def _order(entry: tuple[int, int, Timer]) -> tuple[int, int]:
    return entry[2].due_us, entry[1]
