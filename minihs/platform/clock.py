"""Two clocks: wall time (what is stored and signed) and monotonic time (elapsed delays within a process).

Twisted's own reactor clock is the wall clock, so a step of it would fire or stall timers; `ReactorClock`
puts the reactor on monotonic time. A suspended machine does not advance it; how long the machine has been
running, sleep included, is a third reading, which outlives processes (`Boot`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock as TwistedClock


class Boot(NamedTuple):
    """The machine's present run: a name that no other run has, and the milliseconds since it began, whether
    the machine was awake or suspended. They never step, and every process reads the same."""

    id: str
    elapsed_ms: float


class Clock(Protocol):
    """What every part that knows time is given.

    It also satisfies Twisted's `IReactorTime` (`seconds`, `callLater`), on monotonic time.
    """

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may step in either direction."""

    def monotonic_ms(self) -> float:
        """Milliseconds of elapsed time since some fixed moment; never steps."""

    def boot(self) -> Boot | None:
        """How long the machine has been running; None where it does not tell."""

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
        self._boot_id = _boot_id()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        return time.monotonic() * 1000

    def boot(self) -> Boot | None:
        if sys.platform != "linux" or self._boot_id is None:
            return None
        return Boot(self._boot_id, time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        return cast(IDelayedCall, self._reactor.callLater(max(0.0, delay_ms / 1000), call, *args))

    def seconds(self) -> float:
        return time.monotonic()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:  # noqa: N802
        return cast(IDelayedCall, self._reactor.callLater(delay, call, *args, **kw))


def _boot_id() -> str | None:
    """Names the machine's present run (Linux). A container may have a time of its own, counted from another
    moment: its namespace is a part of the name."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    with suppress(OSError):
        boot_id += " " + os.readlink("/proc/self/ns/time")
    return boot_id


class VirtualClock(TwistedClock):
    """A clock that moves only when it is told to; wall time can be stepped on its own.

    `tells_boot`: whether the machine tells how long it has been running.
    """

    def __init__(self, start_wall_ms: int = 1_700_000_000_000, *, tells_boot: bool = False) -> None:
        super().__init__()
        self._wall_offset_ms = start_wall_ms
        self._tells_boot = tells_boot
        self._boots = 1
        self._booted_ms = 0.0

    def wall_ms(self) -> int:
        return self._wall_offset_ms + int(self.monotonic_ms())

    def monotonic_ms(self) -> float:
        return round(self.rightNow * 1000, 3)

    def boot(self) -> Boot | None:
        return (
            Boot(f"boot {self._boots}", self.monotonic_ms() - self._booted_ms) if self._tells_boot else None
        )

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> IDelayedCall:
        return self.callLater(max(0.0, delay_ms / 1000), call, *args)

    def step_wall(self, delta_ms: int) -> None:
        """Move the wall clock alone, as an administrator or NTP would."""
        self._wall_offset_ms += delta_ms

    def sleep_ms(self, duration_ms: int) -> None:
        """Suspend the machine for a while: only the monotonic clock stands still."""
        self._wall_offset_ms += duration_ms
        self._booted_ms -= duration_ms

    def reboot(self, away_ms: int = 0) -> None:
        """Switch the machine off, and on again later; no process may be running."""
        self._wall_offset_ms += away_ms
        self._boots += 1
        self._booted_ms = self.monotonic_ms()
