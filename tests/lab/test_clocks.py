"""The time of a world jumps from one thing to the next, in an exact order; servers see it through a skew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from zope.interface.verify import verifyObject

from minihs.lab.clocks import ServerClock, WorldClock


def test_a_timer_provides_what_twisted_expects_of_one() -> None:
    assert verifyObject(IDelayedCall, WorldClock().call_later(1, print))


@given(st.lists(st.integers(min_value=0, max_value=50), max_size=30))
def test_calls_come_in_order_of_their_moments_and_then_of_scheduling(delays: list[int]) -> None:
    clock = WorldClock()
    called: list[tuple[int, int]] = []
    for number, delay_ms in enumerate(delays):
        clock.call_later(delay_ms, called.append, (delay_ms, number))
    clock.advance(1)
    assert called == sorted((delay_ms, number) for number, delay_ms in enumerate(delays))


def test_every_call_sees_its_own_moment() -> None:
    clock = WorldClock()
    seen: list[float] = []
    for delay_ms in (10, 86_400_000, 0.0001):
        clock.call_later(delay_ms, lambda: seen.append(clock.monotonic_ms()))
    clock.advance(100_000)
    assert seen == [0.001, 10, 86_400_000]
    assert clock.monotonic_ms() == 100_000_000


def test_what_is_set_off_on_the_way_happens_on_the_way() -> None:
    clock = WorldClock()
    seen: list[float] = []

    def beat() -> None:
        seen.append(clock.monotonic_ms())
        clock.call_later(10, beat)

    clock.call_later(10, beat)
    clock.advance(0.035)
    assert seen == [10, 20, 30]


@pytest.mark.parametrize(("change", "moment"), [("reset", 40), ("delay", 50)])
def test_a_timer_that_is_put_off_is_called_once_at_its_new_moment(change: str, moment: int) -> None:
    clock = WorldClock()
    seen: list[float] = []
    timer: Any = clock.call_later(20, lambda: seen.append(clock.monotonic_ms()))
    clock.advance(0.010)
    getattr(timer, change)(0.030)
    clock.advance(1)
    assert seen == [moment]


def test_a_timer_can_be_brought_forward() -> None:
    clock = WorldClock()
    seen: list[float] = []
    timer: Any = clock.call_later(1_000, lambda: seen.append(clock.monotonic_ms()))
    timer.reset(0.005)
    clock.advance(2)
    assert seen == [5]


def test_a_cancelled_timer_is_never_called_and_cannot_be_cancelled_again() -> None:
    clock = WorldClock()
    timer: Any = clock.call_later(1, pytest.fail)
    timer.cancel()
    clock.advance(1)
    assert not timer.active()
    with pytest.raises(AlreadyCancelled):
        timer.cancel()


def test_a_timer_that_was_called_cannot_be_cancelled() -> None:
    clock = WorldClock()
    timer: Any = clock.call_later(1, lambda: None)
    clock.advance(1)
    with pytest.raises(AlreadyCalled):
        timer.cancel()


def test_many_cancelled_timers_take_no_memory() -> None:
    clock = WorldClock()
    for _ in range(5_000):
        timer: Any = clock.call_later(1_000_000, pytest.fail)
        timer.cancel()
    assert len(clock._timers) <= 2_001


def test_a_server_sees_wall_time_with_its_skew_and_elapsed_time_without() -> None:
    world = WorldClock()
    server = ServerClock(world, skew_ms=-5_000)
    assert server.wall_ms() == world.wall_ms() - 5_000
    world.advance(1)
    assert server.monotonic_ms() == 1_000
    server.step(7_000)
    assert server.wall_ms() == world.wall_ms() + 2_000


def test_a_fast_clock_reaches_a_moment_early() -> None:
    world = WorldClock()
    server = ServerClock(world, rate=1.25)
    seen: list[tuple[float, float]] = []
    server.call_later(1_000, lambda: seen.append((world.monotonic_ms(), server.monotonic_ms())))
    world.advance(2)
    assert seen == [(800, 1_000)]
    assert server.wall_ms() - world.wall_ms() == 500


def test_nothing_is_called_in_a_process_that_is_gone() -> None:
    world = WorldClock()
    server = ServerClock(world)
    server.call_later(1, pytest.fail)
    server.stop()
    world.advance(1)


def test_who_waits_for_the_last_billionth_of_a_second_finds_that_it_has_passed() -> None:
    clock = WorldClock()
    ends_ms = 5.000_000_4
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if clock.monotonic_ms() < ends_ms:
            clock.call_later(ends_ms - clock.monotonic_ms(), look)

    look()
    clock.advance(1)
    assert looks <= 3
