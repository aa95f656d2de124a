"""Drives a real world: turns a reactor of its own until a moment, a condition or a result."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from minihs.lab.driving import NeverHappened, never
from minihs.platform.clock import Clock

T = TypeVar("T")

LOOK_EVERY_S = 0.02
"""How often a condition is asked although nothing happened."""


class RealDriver:
    """Like `Driver`, in real time by `clock`."""

    def __init__(self, reactor: SelectReactor, clock: Clock, pending: Callable[[], str]) -> None:
        self._reactor: Any = reactor
        self._clock = clock
        self._pending = pending
        self._ended = False

    def end(self) -> None:
        """Nothing is driven any more."""
        self._ended = True

    def advance(self, ms: float) -> None:
        """Let so much time pass."""
        self._until(lambda: False, ms)

    def until(self, condition: Callable[[], bool], within_ms: float, what: str) -> None:
        """Until `condition()`."""
        if not self._until(condition, within_ms):
            raise never(what, within_ms, self._pending())

    def result(self, waiting: Deferred[T], within_ms: float, what: str) -> T:
        """The result (or the error) of `waiting`."""
        outcomes: list[T | Failure] = []
        waiting.addBoth(outcomes.append)
        if not self._until(lambda: bool(outcomes), within_ms):
            waiting.addErrback(lambda _: None)
            raise NeverHappened(f"{what} is still waited for.\n{self._pending()}")
        outcome = outcomes[0]
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def run(self, work: Coroutine[Any, Any, T], within_ms: float, what: str) -> T:
        """The result (or the error) of a coroutine."""
        try:
            self._check()
        except RuntimeError:
            work.close()  # it would connect
            raise
        return self.result(Deferred.fromCoroutine(work), within_ms, what)

    def _check(self) -> None:
        if self._ended:
            raise RuntimeError("This world has ended: its processes are gone.")

    def _until(self, condition: Callable[[], bool], within_ms: float) -> bool:
        self._check()
        ends_ms = self._clock.monotonic_ms() + within_ms
        while not condition():
            left_s = (ends_ms - self._clock.monotonic_ms()) / 1000
            if left_s <= 0:
                return False
            self._reactor.runUntilCurrent()
            if condition():
                return True
            due_s = self._reactor.timeout()
            self._reactor.doIteration(
                min(left_s, LOOK_EVERY_S if due_s is None else min(due_s, LOOK_EVERY_S))
            )
        return True


def close(reactor: SelectReactor) -> None:
    """Let go of everything that a reactor holds open."""
    turned: Any = reactor
    for each in turned.removeAll():
        each.connectionLost(cast(Any, Failure)(ConnectionLost()))
    turned.waker.connectionLost(None)
