"""Work that must happen in order under one key (a room, a server), side by side with work under others."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from twisted.internet.defer import Deferred

Key = TypeVar("Key")
Result = TypeVar("Result")


class LaneFull(Exception):
    """Too much is waiting under this key already."""


class _Waiting(msgspec.Struct):
    work: Callable[[], Awaitable[Any]]
    done: Deferred[Any] = msgspec.field(default_factory=Deferred)


class Lanes(Generic[Key]):
    """Bounded queues, one for each key in use; an idle lane costs nothing and takes no memory."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._lanes: dict[Key, deque[_Waiting]] = {}

    async def run(self, key: Key, work: Callable[[], Awaitable[Result]]) -> Result:
        """The outcome of `work()`, which starts when all that came before it under `key` has ended.

        Raises LaneFull, and whatever `work` raises.
        """
        lane = self._lanes.get(key)
        if lane is not None:
            if len(lane) >= self._max_waiting:
                raise LaneFull
            waiting = _Waiting(work)
            lane.append(waiting)
            result: Result = await waiting.done
            return result
        self._lanes[key] = deque()
        try:
            return await work()
        finally:
            self._next(key)

    def _next(self, key: Key) -> None:
        if self._lanes[key]:
            Deferred.fromCoroutine(self._drain(key))
        else:
            del self._lanes[key]

    async def _drain(self, key: Key) -> None:
        # One loop instead of each piece of work starting the next: a long queue must not become a deep stack.
        lane = self._lanes[key]
        while lane:
            waiting = lane.popleft()
            if waiting.done.called:  # cancelled while it waited
                continue
            try:
                result = await waiting.work()
            except Exception:  # noqa: BLE001 – it belongs to whoever asked for the work
                if not waiting.done.called:
                    waiting.done.errback()
            else:
                if not waiting.done.called:
                    waiting.done.callback(result)
        del self._lanes[key]
