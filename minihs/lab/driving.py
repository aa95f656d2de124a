"""Drives a world: from one thing that happens to the next, until a moment, a condition or a result.

What never happens is told with what was pending, so that nobody has to guess why a story stands still.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from minihs.lab.clocks import WorldClock

T = TypeVar("T")

TURNS_AT_ONE_MOMENT = 200_000
"""So many calls without time passing are a loop."""


class NeverHappened(AssertionError):
    """What was waited for did not come; the message has what was pending."""


def duration_ms(
    *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, ms: float = 0
) -> float:
    """A length of time in milliseconds. ValueError for what is none: time does not go back."""
    total_ms = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + ms
    if not 0 <= total_ms < math.inf:
        raise ValueError(f"Time cannot pass for {total_ms / 1000:g} s: say how long, in numbers from 0 on.")
    return total_ms


def never(what: str, within_ms: float, pending: str) -> NeverHappened:
    """What is raised when something did not come in its time."""
    return NeverHappened(f"{what} did not happen within {within_ms / 1000:g} s.\n{pending}")


class Driver:
    """Turns a clock on; `pending` describes what the world is waiting for."""

    def __init__(self, clock: WorldClock, pending: Callable[[], str]) -> None:
        self._clock = clock
        self._pending = pending
        self._interrupted = False

    def advance(self, ms: float) -> None:
        """Let so much time pass."""
        self._until(lambda: False, ms, None)

    def until(self, condition: Callable[[], bool], within_ms: float, what: str) -> None:
        """Until `condition()`, which is asked after each moment at which something happened."""
        if not condition() and not self._until(condition, within_ms, what):
            raise never(what, within_ms, self._pending())

    def result(self, waiting: Deferred[T], within_ms: float, what: str) -> T:
        """The result (or the error) of `waiting`."""
        outcomes: list[T | Failure] = []
        waiting.addBoth(outcomes.append)
        if not outcomes and not self._until(lambda: bool(outcomes), within_ms, what):
            waiting.addErrback(lambda _: None)
            raise NeverHappened(f"{what} is still waited for.\n{self._pending()}")
        outcome = outcomes[0]
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def run(self, work: Coroutine[Any, Any, T], within_ms: float, what: str) -> T:
        """The result (or the error) of a coroutine."""
        return self.result(Deferred.fromCoroutine(work), within_ms, what)

    def _until(self, condition: Callable[[], bool], within_ms: float, what: str | None) -> bool:
        clock = self._clock
        deadline_us = clock.now_us + int(within_ms * 1000)
        with self._interruptible():
            while True:
                due_us = clock.next_us()
                if due_us is None or due_us > deadline_us:
                    clock.run_until_us(deadline_us)
                    return condition()
                self._moment(due_us, what or "the end of that time")
                if condition():
                    return True

    def _moment(self, due_us: int, what: str) -> None:
        """Everything that is due at one moment, and what it sets off at the same moment."""
        clock = self._clock
        for _ in range(TURNS_AT_ONE_MOMENT):
            if clock.next_us() != due_us:
                # What was due earlier than now is due now.
                next_us = clock.next_us()
                if next_us is None or next_us > clock.now_us:
                    return
            clock.turn()
            if self._interrupted:
                raise KeyboardInterrupt
        raise NeverHappened(f"Time stands still on the way to {what}.\n{self._pending()}")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Raise Ctrl-C between two calls. Inside one a Deferred would take it for the failure of what it was
        doing, and the world would go on with a server that had answered 500."""
        by_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not by_default or threading.current_thread() is not threading.main_thread():
            yield  # somebody else minds it: the caller, or a turn of this world further out
            return
        self._interrupted = False
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if self._interrupted:
            raise KeyboardInterrupt  # the second: one call takes for ever
        self._interrupted = True
