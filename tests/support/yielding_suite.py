"""The whole suite with a store that really waits: `pytest --yielding SEED`.

Every read gives control away for some turns, drawn from the seed, and so does every result of a worker.
Answers that come inline hide races that another store would show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from minihs.lab.clocks import WorldClock
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.reader import Params, Reader

MOST_TURNS = 3
CLOCKS = 3
"""Worlds of one test whose clocks are kept in mind; Hypothesis makes a new one for each example."""


class YieldingSuite:
    """Every reader of the suite waits, and so does every result of a worker, once there is a virtual clock.

    `install` patches readers, inline workers and clocks for the whole process. What waits goes on at
    some turn of a clock, in any order, before time passes; so tests about time hold.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._name = ""
        self._random = Random(seed)
        self._waiting: list[Deferred[None]] = []
        self._clocks: deque[VirtualClock | WorldClock] = deque(maxlen=CLOCKS)
        self._armed: dict[VirtualClock | WorldClock, Any] = {}
        self._dead: list[Deferred[None]] = []
        self._module = ""
        self._inline = 0

    def begin(self, module: str, name: str) -> None:
        """A test starts: the same seed gives the same order. Worlds do not outlive their module."""
        self._name = name
        self._random = Random(f"{self._seed} {name}")
        if module != self._module:
            self._module = module
            self._clocks.clear()
            self._bury()

    def install(self) -> None:
        """Patch the classes; for the rest of the process."""
        for name in ("one", "maybe", "all"):
            setattr(Reader, name, self._waiting_read(getattr(Reader, name)))
        Reader.now = self._without_waiting(Reader.now)  # type: ignore[method-assign]
        InlineWorkers.run = self._waiting_run(InlineWorkers.run)  # type: ignore[method-assign]
        VirtualClock.__init__ = self._noticed(VirtualClock.__init__)  # type: ignore[method-assign]
        WorldClock.__init__ = self._noticed(WorldClock.__init__)  # type: ignore[method-assign]
        VirtualClock.advance = _settling(VirtualClock.advance)  # type: ignore[method-assign]

    def _waiting_read(self, read: Callable[..., Any]) -> Callable[..., Any]:
        async def waiting_read(reader: Reader, sql: str, params: Params = ()) -> Any:
            await self._turns()
            answer = await read(reader, sql, params)
            await self._turns()
            return answer

        return waiting_read

    def _without_waiting(self, now: Callable[..., Any]) -> Callable[..., Any]:
        def at_once(reader: Reader, read: Any) -> Any:
            self._inline += 1
            try:
                return now(reader, read)
            finally:
                self._inline -= 1

        return at_once

    def _waiting_run(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """The work is done at once, as in a thread that is fast; its result comes in the order of asking."""
        last: dict[int, Deferred[None]] = {}

        async def in_turn(done: Any, mine: Deferred[None], before: Deferred[None] | None) -> Any:
            try:
                await self._turns()
                if before is not None and not before.called:
                    await before
                return await done
            finally:
                mine.callback(None)

        def waiting_run(workers: InlineWorkers, *work: Any, **options: Any) -> Any:
            done = run(workers, *work, **options)
            if not self._clocks:
                return done
            before = last.get(id(workers))
            mine = last[id(workers)] = Deferred()
            return Deferred.fromCoroutine(in_turn(done, mine, before))

        return waiting_run

    def _noticed(self, init: Callable[..., None]) -> Callable[..., None]:
        def noticed(clock: Any, *args: Any, **options: Any) -> None:
            init(clock, *args, **options)
            self._clocks.append(clock)
            # Anew for each world, so that Hypothesis gets the same order again for the same example.
            self._random = Random(f"{self._seed} {self._name}")

        return noticed

    async def _turns(self) -> None:
        if not self._clocks or self._inline:
            return
        for _ in range(self._random.randrange(MOST_TURNS)):
            if any(not call.active() for call in self._armed.values()):
                # A test has cancelled all timers: the process was killed, and none of its reads ever returns.
                self._bury()
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            for clock in self._clocks:  # whichever is turned
                self._arm(clock)
            await turn

    def _bury(self) -> None:
        """What waits never goes on. It is kept, because a coroutine that is collected runs its `finally`."""
        self._dead += self._waiting
        self._waiting = []
        self._armed = {}

    def _arm(self, clock: VirtualClock | WorldClock) -> None:
        if clock not in self._armed:
            self._armed[clock] = clock.callLater(0, self._let_one_go_on, clock)

    def _let_one_go_on(self, clock: VirtualClock | WorldClock) -> None:
        self._armed.pop(clock, None)
        if self._waiting:
            self._waiting.pop(self._random.randrange(len(self._waiting))).callback(None)
        if self._waiting:
            self._arm(clock)


def _settling(advance: Callable[..., None]) -> Callable[..., None]:
    def settling(clock: VirtualClock, amount: float) -> None:
        if amount:
            advance(clock, 0)
        advance(clock, amount)

    return settling
