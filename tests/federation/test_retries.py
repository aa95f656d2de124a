"""Back-off: how long a failing server is left alone, and what ends it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minihs.events.ids import ServerName
from minihs.federation.retries import JITTER, Pause, RetryPolicy, RetryTable, next_pause
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy

HS2 = ServerName("hs2.test")
POLICY = RetryPolicy(initial_ms=1_000, max_ms=60_000)


def table() -> tuple[RetryTable, VirtualClock, list[ServerName]]:
    clock = VirtualClock()
    retries = RetryTable(POLICY, clock, SeededEntropy(1))
    heard: list[ServerName] = []
    retries.listen(heard.append)
    return retries, clock, heard


@given(st.integers(0, 30), st.floats(0, 1, exclude_max=True), st.integers(0, 100_000))
def test_pauses_double_up_to_the_longest_and_jitter_only_shortens_them(
    failures: int, jitter: float, least_ms: int
) -> None:
    pause: Pause | None = None
    for _ in range(failures + 1):
        now_ms = 0.0 if pause is None else pause.retry_at_ms
        pause = next_pause(pause, POLICY, wall_ms=5, now_ms=now_ms, jitter=jitter, least_ms=least_ms)
    assert pause is not None
    expected = min(POLICY.initial_ms * 2**failures, POLICY.max_ms)
    waited = pause.retry_at_ms - now_ms
    assert pause.interval_ms == expected
    assert expected * (1 - JITTER) - 1 <= waited <= max(expected, min(least_ms, POLICY.max_ms)) + 1
    assert pause.failing_since_ms == 5


def test_a_server_is_left_alone_after_a_failure_and_good_again_after_a_success() -> None:
    retries, clock, heard = table()
    assert retries.retry_at_ms(HS2) is None
    retries.failed(HS2)
    assert retries.retry_at_ms(HS2) is not None
    clock.advance(1.001)
    assert retries.retry_at_ms(HS2) is None
    assert retries.pause_of(HS2) is not None
    retries.succeeded(HS2)
    assert retries.pause_of(HS2) is None
    assert heard == [HS2, HS2]


def test_failures_side_by_side_count_once() -> None:
    retries, _, heard = table()
    retries.failed(HS2)
    retries.failed(HS2)
    pause = retries.pause_of(HS2)
    assert pause is not None
    assert (pause.interval_ms, heard) == (1_000, [HS2])


def test_a_sign_of_life_ends_a_long_pause_and_keeps_the_interval() -> None:
    retries, clock, _ = table()
    for _ in range(5):
        retries.failed(HS2)
        clock.advance(60)
    retries.failed(HS2)
    clock.advance(2)
    assert retries.retry_at_ms(HS2) is not None
    retries.sign_of_life(HS2)
    assert retries.retry_at_ms(HS2) is None
    retries.failed(HS2)
    pause = retries.pause_of(HS2)
    assert pause is not None
    assert pause.interval_ms == 60_000


def test_signs_of_life_of_a_server_that_cannot_be_reached_make_no_more_attempts_than_the_first_pause() -> (
    None
):
    retries, clock, _ = table()
    for _ in range(4):
        retries.failed(HS2)
        clock.advance(60)
    retries.failed(HS2)
    for _ in range(9):
        clock.advance(0.1)
        retries.sign_of_life(HS2)
        assert retries.retry_at_ms(HS2) is not None
    clock.advance(0.101)
    assert retries.retry_at_ms(HS2) is None


def test_a_restored_pause_is_never_longer_than_its_interval() -> None:
    retries, clock, heard = table()
    now = clock.wall_ms()
    retries.restore(HS2, failing_since_ms=now - 5, retry_at_wall_ms=now + 10**9, interval_ms=4_000)
    assert retries.retry_at_ms(HS2) == clock.monotonic_ms() + 4_000
    retries.restore(HS2, failing_since_ms=now - 5, retry_at_wall_ms=now - 10**9, interval_ms=4_000)
    assert retries.retry_at_ms(HS2) is None
    assert heard == []
