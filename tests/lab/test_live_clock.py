"""A real process's clock that can be turned: it goes on by itself, is held, and calls in order."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.lab.live.busy import PATIENCE_S, Busy, BusyWorkers
from minihs.lab.live.clock import LiveClock
from minihs.lab.live.turning import TimeStandsStill, Turned, Turning
from minihs.platform.clock import VirtualClock


class Process:
    """A clock to turn, on a real one that only a test moves."""

    def __init__(self) -> None:
        self.real = VirtualClock()
        self.clock = LiveClock(self.real)
        self.busy = Busy(self.real.callLater)
        self.turning = Turning(self.clock, self.busy, lambda call: self.real.callLater(0, call))
        self.called: list[tuple[str, float]] = []

    def note(self, name: str) -> None:
        self.called.append((name, self.clock.monotonic_ms()))

    def advance(self, ms: float, turns: int = 100) -> list[Turned]:
        """Turn the clock; what came of it, if it is done."""
        done: list[Turned] = []
        Deferred.fromCoroutine(self.turning.advance(ms)).addCallback(done.append)
        for _ in range(turns):
            self.real.advance(0)
        return done


def test_it_goes_on_by_itself_and_calls_what_is_due() -> None:
    process = Process()
    process.clock.call_later(20, process.note, "late")
    process.clock.call_later(10, process.note, "early")
    process.real.advance(0.015)
    assert process.called == [("early", 15)]
    process.real.advance(0.005)
    assert process.called == [("early", 15), ("late", 20)]
    assert process.clock.wall_ms() == process.real.wall_ms()


def test_turned_by_a_day_it_calls_everything_at_its_own_moment_and_goes_on_from_there() -> None:
    process = Process()
    hours = 3_600_000

    def again() -> None:
        process.note("again")
        process.clock.call_later(9 * hours, process.note, "set off")

    process.clock.call_later(10 * hours, again)
    process.clock.call_later(5 * hours, process.note, "first")
    process.clock.call_later(25 * hours, process.note, "too late")
    assert process.advance(24 * hours) == [Turned(3, [])]
    assert process.called == [("first", 5 * hours), ("again", 10 * hours), ("set off", 19 * hours)]
    assert process.clock.monotonic_ms() == 24 * hours
    assert process.clock.ahead_ms == 24 * hours
    process.real.advance(3_600)
    assert process.called[-1] == ("too late", 25 * hours)


def test_a_timer_that_is_put_off_after_a_quiet_hour_waits_from_now() -> None:
    process = Process()
    timer = process.clock.callLater(7_200, process.note, "idle")
    process.real.advance(3_600)
    timer.reset(7_200)  # type: ignore[no-untyped-call]
    process.real.advance(7_199)
    assert process.called == []
    process.real.advance(1)
    assert len(process.called) == 1


def test_time_waits_for_work_off_the_main_thread() -> None:
    process = Process()
    working: Deferred[None] = Deferred()

    class Thread:
        """Answers when the test says so."""

        def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            return working.addCallback(lambda _: work(*args, **kwargs))

        def stop(self) -> None:
            """There is none."""

    workers = BusyWorkers(Thread(), process.busy, "work")

    def begin() -> None:
        result: Deferred[str] = workers.run(str.upper, "its result")
        result.addCallback(lambda name: process.clock.call_later(0, process.note, name))

    process.clock.call_later(10, begin)
    process.clock.call_later(20, process.note, "next")
    assert process.advance(30) == []
    assert process.called == []
    working.callback(None)
    for _ in range(50):
        process.real.advance(0)
    assert process.called == [("ITS RESULT", 10), ("next", 20)]
    assert process.busy.is_idle


def test_what_is_stuck_is_waited_for_once_and_told() -> None:
    process = Process()
    process.busy.begin("an answer from hs2")
    assert process.advance(1_000) == []
    process.real.advance(PATIENCE_S)
    for _ in range(10):
        process.real.advance(0)
    assert process.clock.ahead_ms == 1_000 - PATIENCE_S * 1000
    assert process.advance(1_000) == [Turned(0, ["an answer from hs2"])]


def test_who_got_stuck_once_is_not_waited_for_until_it_answers() -> None:
    process = Process()
    first = process.busy.begin("an answer from hs2")
    process.advance(1_000)
    process.real.advance(PATIENCE_S)
    process.busy.end(first, well=False)
    second = process.busy.begin("an answer from hs2")
    assert process.advance(1_000) == [Turned(0, ["an answer from hs2"])]
    process.busy.end(second)
    process.busy.begin("an answer from hs2")
    assert process.advance(1_000) == []


def test_a_call_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    process = Process()

    def fail() -> None:
        raise RuntimeError("on purpose")

    process.clock.call_later(10, fail)
    process.clock.call_later(10, process.note, "after it")
    process.real.advance(0.01)
    assert [name for name, _ in process.called] == ["after it"]


def test_something_that_is_always_due_at_once_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihs.lab.live.turning.TURNS_AT_ONE_MOMENT", 10)
    process = Process()

    def again() -> None:
        if process.clock.held:
            process.clock.call_later(0, again)

    process.clock.call_later(0, again)
    failures: list[type[BaseException] | None] = []
    turning = Deferred.fromCoroutine(process.turning.advance(1_000))
    turning.addErrback(lambda failure: failures.append(failure.check(TimeStandsStill)))
    for _ in range(200):
        process.real.advance(0)
    assert failures == [TimeStandsStill]
    assert not process.clock.held
