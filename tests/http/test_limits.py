"""Token buckets: bursts, refilling, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.homeserver.errors import LimitExceeded
from minihs.http.limits import DEFAULT_LIMITS, Limit, RateLimiter, limits_with
from minihs.platform.clock import VirtualClock


def limiter(per_second: float, burst: int, **options: int) -> tuple[RateLimiter, VirtualClock]:
    clock = VirtualClock()
    return RateLimiter(clock, {"x": Limit(per_second, burst)}, **options), clock


def test_a_burst_passes_and_then_one_at_a_time() -> None:
    limits, clock = limiter(2.0, 3)
    for _ in range(3):
        limits.charge("x", "alice")
    with pytest.raises(LimitExceeded) as refused:
        limits.charge("x", "alice")
    assert refused.value.retry_after_ms == 500
    limits.charge("x", "bob")
    clock.advance(0.499)
    with pytest.raises(LimitExceeded):
        limits.charge("x", "alice")
    clock.advance(0.001)
    limits.charge("x", "alice")
    with pytest.raises(LimitExceeded):
        limits.charge("x", "alice")


def test_asking_takes_nothing() -> None:
    limits, _clock = limiter(1.0, 1)
    for _ in range(5):
        limits.check("x", "alice")
    limits.charge("x", "alice")
    with pytest.raises(LimitExceeded):
        limits.check("x", "alice")


def test_a_refused_request_costs_nothing() -> None:
    limits, clock = limiter(1.0, 1)
    limits.charge("x", "alice")
    for _ in range(100):
        with pytest.raises(LimitExceeded):
            limits.charge("x", "alice")
    clock.advance(1)
    limits.charge("x", "alice")


def test_a_cost_is_taken_whole_or_not_at_all() -> None:
    limits, _clock = limiter(1.0, 10)
    limits.charge("x", "alice", cost=7)
    with pytest.raises(LimitExceeded) as refused:
        limits.charge("x", "alice", cost=5)
    assert refused.value.retry_after_ms == 2000
    limits.charge("x", "alice", cost=3)


@given(
    per_second=st.floats(0.05, 500),
    burst=st.integers(1, 50),
    pauses=st.lists(st.integers(0, 3000), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_the_rate_allow_and_never_late(
    per_second: float, burst: int, pauses: list[int]
) -> None:
    limits, clock = limiter(per_second, burst)
    passed = 0
    for pause_ms in pauses:
        clock.advance(pause_ms / 1000)
        try:
            limits.charge("x", "alice")
            passed += 1
        except LimitExceeded as refused:
            clock.advance(refused.retry_after_ms / 1000)
            limits.charge("x", "alice")
            passed += 1
    assert passed <= burst + per_second * clock.seconds() + 0.01


def test_memory_is_bounded_and_full_buckets_are_forgotten_first() -> None:
    limits, clock = limiter(1.0, 2, max_keys=100)
    limits.charge("x", "busy", cost=2)
    clock.advance(1.5)
    for number in range(98):
        limits.charge("x", f"early-{number}")
    limits.charge("x", "busy")
    clock.advance(1)
    for number in range(500):
        limits.charge("x", f"late-{number}")
        if number < 60:
            with pytest.raises(LimitExceeded):
                limits.charge("x", "busy", cost=2)
    assert len(limits._full_at_ms["x"]) <= 100


def test_limits_can_be_switched_off() -> None:
    limits = RateLimiter(VirtualClock(), enabled=False)
    for _ in range(1000):
        limits.charge("login", "alice")


def test_single_rows_of_the_table_can_be_replaced() -> None:
    limits = limits_with({"login": (5.0, 7)})
    assert limits["login"] == Limit(5.0, 7, DEFAULT_LIMITS["login"].charged_to)
    assert limits["send"] == DEFAULT_LIMITS["send"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"nonsense": (1.0, 1)}, "no rate limit called nonsense"),
        ({"login": (0.0, 1)}, "the rate limit login takes"),
        ({"login": (1.0, 0)}, "the rate limit login takes"),
    ],
)
def test_impossible_rows_are_refused(overrides: dict[str, tuple[float, int]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        limits_with(overrides)
