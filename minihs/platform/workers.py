"""Work off the main thread: named pools of threads, or inline in a virtual world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class Workers(Protocol):
    """Runs plain functions somewhere they may take their time."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """`work(*args)` off the main thread; the Deferred fires on the main thread with its result."""

    def stop(self) -> None:
        """Wait for what is running; afterwards `run` must not be called."""


class ThreadWorkers:
    """A pool of up to `threads` threads."""

    def __init__(self, reactor: IReactorFromThreads, threads: int, name: str) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)
        self._pool.start()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return cast("Deferred[T]", deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs))

    def stop(self) -> None:
        self._pool.stop()


class InlineWorkers:
    """Runs the work at once, in the caller: order, and so the whole world, stays repeatable."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return cast("Deferred[T]", execute(cast(Any, work), *args, **kwargs))

    def stop(self) -> None:
        return None


__all__ = ["InlineWorkers", "ThreadWorkers", "Workers"]
