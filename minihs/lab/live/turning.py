"""Turns the clock of a real process: from one thing that is due to the next, waiting for what each sets off.

When it is done, everything that was due has happened: futures are sent and durable, and other servers that
answer have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredLock

from minihs.lab.live.busy import Busy
from minihs.lab.live.clock import LiveClock

QUIET_TURNS = 3
"""So many turns of the reactor without anything to do, and nothing is under way: bytes that have arrived were
read, what they set off has begun."""

TURNS_AT_ONE_MOMENT = 200_000
"""So many calls without time passing are a loop."""


class TimeStandsStill(Exception):
    """Something is always due at once."""


class Turned(msgspec.Struct, frozen=True):
    """How a turn went: calls that were made, and what nobody waited for any longer."""

    fired: int
    stuck: list[str]


class Turning:
    """One turn at a time. `turn(call)` has the reactor call in its next turn."""

    def __init__(self, clock: LiveClock, busy: Busy, turn: Callable[[Callable[[], None]], Any]) -> None:
        self._clock = clock
        self._busy = busy
        self._turn = turn
        self._lock = DeferredLock()

    async def advance(self, ms: float) -> Turned:
        """Let `ms` pass on both clocks. Raises TimeStandsStill."""
        await self._lock.acquire()
        try:
            self._clock.hold()
            try:
                return Turned(await self._advance(int(ms * 1000)), self._busy.stuck())
            finally:
                self._clock.release()
        finally:
            self._lock.release()

    async def _advance(self, us: int) -> int:
        clock, fired, at_this_moment = self._clock, 0, 0
        target_us = clock.now_us + us
        while True:
            await self._rest()
            due_us = clock.next_us()
            if due_us is None or due_us > target_us:
                clock.now_us = target_us
                return fired
            at_this_moment = at_this_moment + 1 if due_us <= clock.now_us else 0
            if at_this_moment > TURNS_AT_ONE_MOMENT:
                raise TimeStandsStill
            clock.now_us = max(clock.now_us, due_us)
            fired += clock.fire()

    async def _rest(self) -> None:
        quiet = 0
        while quiet < QUIET_TURNS:
            if self._busy.is_idle:
                quiet += 1
                pause: Deferred[None] = Deferred()
                self._turn(lambda pause=pause: pause.callback(None))  # type: ignore[misc]
                await pause
            else:
                quiet = 0
                await self._busy.idle()
