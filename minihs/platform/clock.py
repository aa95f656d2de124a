"""Two clocks: wall time (what is stored and signed) and monotonic time (elapsed delays within a process).

Twisted's own reactor clock is the wall clock, so a step of it would fire or stall timers; `ReactorClock`
puts the reactor on monotonic time. A suspended machine does not advance it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock as TwistedClock


class Clock(Protocol):
    """What every part that knows time is given.

    It also satisfies Twisted's `IReactorTime` (`seconds`, `callLater`), on monotonic time.
    """

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may step in either direction."""

    def monotonic_ms(self) -> float:
        """Milliseconds of elapsed time since some fixed moment; never steps."""

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        """Call `call(*args)` once `delay_ms` have elapsed; cancel with `.cancel()` on the result."""


def sleep(clock: Clock, delay_ms: float) -> Deferred[None]:
    """A Deferred that fires after `delay_ms`; cancelling it cancels the timer."""

    timers: list[IDelayedCall] = []

    def cancel(_waiting: Deferred[None]) -> None:
        cast(Any, timers[0]).cancel()

    waiting: Deferred[None] = Deferred(cancel)
    timers.append(clock.call_later(delay_ms, waiting.callback, None))
    return waiting


class ReactorClock:
    """The machine's clocks, with the reactor's timers moved to monotonic time."""

    def __init__(self, reactor: Any) -> None:
        reactor.seconds = time.monotonic
        self._reactor = reactor

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        return time.monotonic() * 1000

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        return cast(IDelayedCall, self._reactor.callLater(max(0.0, delay_ms / 1000), call, *args))

    def seconds(self) -> float:
        return time.monotonic()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:  # noqa: N802
        return cast(IDelayedCall, self._reactor.callLater(delay, call, *args, **kw))


class VirtualClock(TwistedClock):
    """A clock that moves only when it is told to; wall time can be stepped on its own."""

    def __init__(self, start_wall_ms: int = 1_700_000_000_000) -> None:
        super().__init__()
        self._wall_offset_ms = start_wall_ms

    def wall_ms(self) -> int:
        return self._wall_offset_ms + int(self.monotonic_ms())

    def monotonic_ms(self) -> float:
        return round(self.rightNow * 1000, 3)

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        return self.callLater(max(0.0, delay_ms / 1000), call, *args)

    def step_wall(self, delta_ms: int) -> None:
        """Move the wall clock alone, as an administrator or NTP would."""
        self._wall_offset_ms += delta_ms
