"""One piece of work for all who ask for the same thing at the same time, whatever it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedWork(Generic[K, V]):
    """Runs work once for each key at a time and hands the result, or the error, to everybody who waits.

    A caller that is cancelled only stops waiting; the work, which must be bounded in time by itself, goes on.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[V]]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._waiting

    def run(self, key: K, work: Callable[[], Awaitable[V]]) -> Deferred[V]:
        """The result of `work()`, or of the same work that is already under way for `key`."""
        waiters = self._waiting.get(key)
        waiting: Deferred[V] = Deferred()
        if waiters is not None:
            waiters.append(waiting)
            return waiting
        self._waiting[key] = [waiting]

        def finished(result: V | Failure) -> None:
            for waiter in self._waiting.pop(key):
                if not waiter.called:
                    waiter.callback(result)

        doing = Deferred.fromCoroutine(cast("Coroutine[Deferred[Any], Any, V]", work()))
        doing.addBoth(finished)
        return waiting
