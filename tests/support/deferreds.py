"""Runs coroutines to their end on a virtual clock: no reactor, no sleeping."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from minihs.platform.clock import VirtualClock

T = TypeVar("T")

PATIENCE_TURNS = 10_000


def start(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """Begin the work; `finish` waits for it."""
    return Deferred.fromCoroutine(work)


def finish(clock: VirtualClock, waiting: Deferred[T]) -> T:
    """The result (or the error) of `waiting`, turning the clock on without letting time pass."""
    results: list[T] = []
    failures: list[BaseException] = []
    waiting.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    for _ in range(PATIENCE_TURNS):
        if results or failures:
            break
        clock.advance(0)
    if failures:
        raise failures[0]
    assert results, "still waiting, and only time could change that"
    return results[0]


def run(clock: VirtualClock, work: Coroutine[Deferred[Any], Any, T]) -> T:
    """The result (or the error) of `work`."""
    return finish(clock, start(work))
