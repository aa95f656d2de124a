"""What a real process has under way that takes real time: a turned clock waits for it before it goes on.

Threads at work, connections being made, requests that another server has and has not answered.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.internet.defer import Deferred

from minihs.platform.clock import Clock, sleep
from minihs.platform.workers import P, T, Workers

PATIENCE_S = 1.0
"""So long, in real time, something may take that time is stopped for. Then it counts as stuck (another server
stands still, a disk does), and nothing waits for it, or for its like, again."""


class Busy:
    """Counts what is under way. `wait(call, seconds)` calls later in real time."""

    def __init__(self, wait: Callable[[float, Callable[[], None]], Any]) -> None:
        self._wait = wait
        self._number = 0
        self._under_way: dict[int, str] = {}
        self._stuck: set[int] = set()
        self._slow: set[str] = set()
        self._idle: Deferred[None] | None = None

    def begin(self, what: str) -> int:
        """Something has begun; the number to `end` it by. What got stuck under that name is not waited for
        again until it has ended `well`."""
        self._number += 1
        self._under_way[self._number] = what
        if what in self._slow:
            self._stuck.add(self._number)
        return self._number

    def end(self, number: int, *, well: bool = True) -> None:
        """It is over. Ending twice does nothing."""
        what = self._under_way.pop(number, None)
        self._stuck.discard(number)
        if well and what is not None:
            self._slow.discard(what)
        if self._idle is not None and self.is_idle:
            idle, self._idle = self._idle, None
            idle.callback(None)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to wait for."""
        return len(self._under_way) == len(self._stuck)

    def stuck(self) -> list[str]:
        """What took longer than anybody waits, in the order of beginning."""
        return [what for number, what in self._under_way.items() if number in self._stuck]

    async def idle(self) -> None:
        """Until nothing is under way, or what is has taken PATIENCE_S and counts as stuck."""
        if self.is_idle:
            return
        waiting: Deferred[None] = Deferred()
        self._idle = waiting
        timer = self._wait(PATIENCE_S, self._give_up)
        await waiting
        if timer.active():
            timer.cancel()

    def _give_up(self) -> None:
        self._stuck = set(self._under_way)
        self._slow.update(self._under_way.values())
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.callback(None)


class BusyWorkers:
    """Other workers, whose work is counted."""

    def __init__(self, workers: Workers, busy: Busy, what: str) -> None:
        self._workers = workers
        self._busy = busy
        self._what = what

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        number = self._busy.begin(self._what)

        def ended(result: Any) -> Any:
            # After everything that waited for it: that may begin something else.
            self._busy.end(number)
            return result

        return self._workers.run(work, *args, **kwargs).addBoth(ended)

    def stop(self) -> None:
        self._workers.stop()


class Commits:
    """The worker that commits, made slow, or the last thing that the process does."""

    def __init__(self, workers: Workers, clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self.delay_ms = 0.0
        self._countdown: tuple[int, bool] | None = None

    def die_at(self, nth: int, *, after: bool) -> None:
        """Kill the process around the nth commit from now: before it, or `after` it and before all else."""
        self._countdown = (nth, after)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        if self._countdown is not None:
            nth, after = self._countdown
            self._countdown = (nth - 1, after)
            if nth == 1:
                return self._last(work, after, *args, **kwargs)
        if not self.delay_ms:
            return self._workers.run(work, *args, **kwargs)
        waiting: Deferred[Any] = sleep(self._clock, self.delay_ms)
        return waiting.addCallback(lambda _: self._workers.run(work, *args, **kwargs))

    def stop(self) -> None:
        self._workers.stop()

    def _last(self, work: Callable[P, T], after: bool, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        if not after:
            die()
        return self._workers.run(work, *args, **kwargs).addBoth(lambda _: die())


def die() -> NoReturn:
    """As `kill -9` does it: nothing is finished."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # never reached
