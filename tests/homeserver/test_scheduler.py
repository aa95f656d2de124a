"""The scheduler alone: one timer, order, slices that let others in, a bound on what is under way."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from minihs.futures.model import FutureID
from minihs.homeserver.futures.due_times import DueTimes, Entry
from minihs.homeserver.futures.scheduler import LONGEST_SLEEP_MS, MAX_UNDER_WAY, SLICE_SENDS, Scheduler
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.database import open_database
from minihs.store.futures import FutureStore
from minihs.store.writer import Writer
from tests.support.deferreds import run


class Bench:
    """A scheduler whose sends are recorded and end when they are told to."""

    def __init__(self, stored: list[Entry] | None = None) -> None:
        self.clock = VirtualClock()
        database = open_database()
        self.steady = SteadyClock(self.clock, FutureStore(database.reader))
        run(self.clock, self.steady.load())
        self.start_ms = self.steady.passed_ms()
        stored = [(self.start_ms + due, number) for due, number in stored or []]

        async def load_after(after: Entry, limit: int) -> list[Entry]:
            return [entry for entry in sorted(stored) if entry > after][:limit]

        self.due_times = DueTimes(load_after)
        self.begun: list[tuple[FutureID, bool]] = []
        self.open: list[Deferred[None]] = []
        self.hold = False
        self.takes_ms = 0
        writer = Writer(database.writing, clock=self.clock, workers=InlineWorkers(), on_fatal=pytest.fail)
        self.scheduler = Scheduler(
            clock=self.clock, steady=self.steady, due_times=self.due_times, sender=self, writer=writer
        )
        run(self.clock, self.scheduler.start())

    async def when_due(self, future_id: FutureID, *, overdue: bool = False) -> None:
        self.begun.append((future_id, overdue))
        self.clock.rightNow += self.takes_ms / 1000
        if self.hold:
            waiting: Deferred[None] = Deferred()
            self.open.append(waiting)
            await waiting

    def set(self, after_ms: int, number: int) -> None:
        self.due_times.set(self.start_ms + after_ms, FutureID(number))

    def turns(self, count: int = 1_000) -> None:
        for _ in range(count):
            self.clock.advance(0)


def test_each_is_begun_at_its_time_and_not_before() -> None:
    bench = Bench()
    bench.set(100, 1)
    bench.set(50, 2)
    for passed, begun in ((49, []), (1, [2]), (49, []), (1, [1])):
        bench.begun.clear()
        bench.clock.advance(passed / 1000)
        assert [number for number, _ in bench.begun] == begun


def test_one_timer_is_all_that_runs() -> None:
    bench = Bench()
    for number in range(1, 100):
        bench.set(5_000 - number, number)
    assert len(bench.clock.getDelayedCalls()) == 1


def test_far_times_are_looked_at_now_and_then() -> None:
    bench = Bench()
    bench.set(3_600_000, 1)
    [timer] = bench.clock.getDelayedCalls()
    assert timer.getTime() - bench.clock.seconds() == LONGEST_SLEEP_MS / 1000


def test_what_was_overdue_at_the_start_goes_out_at_once_in_order_as_overdue() -> None:
    bench = Bench([(-10, FutureID(1)), (-30, FutureID(2)), (0, FutureID(3)), (5, FutureID(4))])
    bench.turns()
    assert bench.begun == [(2, True), (1, True), (3, True)]
    bench.clock.advance(0.005)
    assert bench.begun[3:] == [(4, False)]


def test_others_get_their_turn_between_slices_of_a_burst() -> None:
    bench = Bench()
    for number in range(1, 101):
        bench.set(10, number)
    seen: list[int] = []
    # The virtual clock runs what is due in order of time, so this is in line behind the first slice.
    bench.clock.callLater(0.010, lambda: seen.append(len(bench.begun)))
    bench.clock.advance(0.010)
    bench.turns()
    assert len(bench.begun) == 100
    assert seen == [SLICE_SENDS]


def test_a_slice_of_sends_that_take_their_time_ends_sooner() -> None:
    bench = Bench()
    bench.takes_ms = 3
    for number in range(1, 11):
        bench.set(10, number)
    seen: list[int] = []
    bench.clock.callLater(0.010, lambda: seen.append(len(bench.begun)))
    bench.clock.advance(0.010)
    bench.turns()
    assert len(bench.begun) == 10
    assert seen == [2], "SLICE_MS is 5"


def test_what_is_to_be_tried_again_rings_though_nothing_else_waits() -> None:
    bench = Bench()
    bench.due_times.again(bench.start_ms + 50, FutureID(1))
    bench.clock.advance(0.049)
    assert bench.begun == []
    bench.clock.advance(0.001)
    assert bench.begun == [(1, False)]


def test_sends_that_wait_for_the_disk_are_bounded() -> None:
    bench = Bench()
    bench.hold = True
    for number in range(1, 2 * MAX_UNDER_WAY + 1):
        bench.set(10, number)
    bench.clock.advance(0.010)
    bench.turns()
    assert len(bench.begun) == MAX_UNDER_WAY
    while bench.open:
        for waiting in list(bench.open):
            bench.open.remove(waiting)
            waiting.callback(None)
        bench.turns(100)
    assert sorted(number for number, _ in bench.begun) == list(range(1, 2 * MAX_UNDER_WAY + 1))


def test_stopping_waits_for_what_is_under_way_and_begins_nothing_more() -> None:
    bench = Bench()
    bench.hold = True
    bench.set(10, 1)
    bench.set(20, 2)
    bench.clock.advance(0.010)
    stopping = Deferred.fromCoroutine(bench.scheduler.stop())
    bench.clock.advance(0.050)
    assert not stopping.called
    assert [number for number, _ in bench.begun] == [1]
    bench.open[0].callback(None)
    bench.turns()
    assert stopping.called
    assert len(bench.begun) == 1
