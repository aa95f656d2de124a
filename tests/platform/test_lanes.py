"""Lanes keep the order under one key and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.platform.lanes import LaneFull, Lanes


class Steps:
    """Work that notes when it starts and ends when it is told to."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.finish: dict[str, Deferred[str]] = {}

    def work(self, name: str) -> Any:
        async def run() -> str:
            self.started.append(name)
            self.finish[name] = Deferred()
            return await self.finish[name]

        return run


def outcome(deferred: Deferred[Any]) -> Any:
    seen: list[Any] = []
    deferred.addBoth(seen.append)
    return seen


def test_work_under_one_key_starts_when_the_work_before_it_has_ended() -> None:
    lanes: Lanes[str] = Lanes(10)
    steps = Steps()
    done = [outcome(Deferred.fromCoroutine(lanes.run("room", steps.work(name)))) for name in "abc"]
    assert steps.started == ["a"]
    steps.finish["a"].callback("A")
    assert steps.started == ["a", "b"]
    steps.finish["b"].callback("B")
    steps.finish["c"].callback("C")
    assert done == [["A"], ["B"], ["C"]]


def test_work_under_another_key_does_not_wait() -> None:
    lanes: Lanes[str] = Lanes(10)
    steps = Steps()
    Deferred.fromCoroutine(lanes.run("room", steps.work("a")))
    Deferred.fromCoroutine(lanes.run("other", steps.work("b")))
    assert steps.started == ["a", "b"]


def test_a_failure_belongs_to_its_caller_and_the_next_work_still_runs() -> None:
    lanes: Lanes[str] = Lanes(10)
    steps = Steps()
    first = outcome(Deferred.fromCoroutine(lanes.run("room", steps.work("a"))))
    second = outcome(Deferred.fromCoroutine(lanes.run("room", steps.work("b"))))
    third = outcome(Deferred.fromCoroutine(lanes.run("room", steps.work("c"))))
    steps.finish["a"].errback(ValueError("a"))
    steps.finish["b"].errback(ValueError("b"))
    steps.finish["c"].callback("C")
    assert [str(first[0].value), str(second[0].value), third[0]] == ["a", "b", "C"]


def test_a_full_lane_refuses_and_has_room_again_later() -> None:
    lanes: Lanes[str] = Lanes(1)
    steps = Steps()
    Deferred.fromCoroutine(lanes.run("room", steps.work("a")))
    Deferred.fromCoroutine(lanes.run("room", steps.work("b")))
    refused = outcome(Deferred.fromCoroutine(lanes.run("room", steps.work("c"))))
    with pytest.raises(LaneFull):
        refused[0].raiseException()
    steps.finish["a"].callback("A")
    Deferred.fromCoroutine(lanes.run("room", steps.work("d")))
    steps.finish["b"].callback("B")
    assert steps.started == ["a", "b", "d"]


def test_a_long_lane_of_work_that_never_waits_does_not_exhaust_the_stack() -> None:
    lanes: Lanes[str] = Lanes(5000)
    steps = Steps()
    ran: list[int] = []

    async def note(number: int) -> None:
        ran.append(number)

    Deferred.fromCoroutine(lanes.run("room", steps.work("a")))
    for number in range(5000):
        Deferred.fromCoroutine(lanes.run("room", lambda number=number: note(number)))
    steps.finish["a"].callback("A")
    assert ran == list(range(5000))
