"""What no world can do is refused by a sentence, before anything has changed; what it can do is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minihs.lab import World
from minihs.lab.http_client import RequestFailed
from minihs.lab.names import UnknownName
from tests.lab.test_world import room_of_two


@pytest.fixture
def world() -> World:
    world = World(["hs1", "hs2"])
    world.user("alice", on="hs1")
    return world


@pytest.mark.parametrize("span", [{"hours": -1}, {"ms": float("nan")}, {"days": float("inf")}], ids=str)
def test_time_passes_forwards_and_for_so_long_as_can_be_said(world: World, span: dict[str, float]) -> None:
    before_ms = world.now_ms
    with pytest.raises(ValueError, match="Time cannot pass for"):
        world.advance(**span)
    assert world.now_ms == before_ms
    world.advance(hours=-1, minutes=61)
    assert world.now_ms == before_ms + 60_000


@pytest.mark.parametrize(
    ("condition", "possible"),
    [
        ({"loss": 1.1}, {"loss": 1}),
        ({"loss": "10%"}, {"loss": 0.1}),
        ({"broken": float("nan")}, {"broken": 0.1}),
        ({"latency_ms": -1}, {"latency_ms": 0}),
        ({"bytes_per_s": 0}, {"bytes_per_s": 1_000}),
    ],
    ids=str,
)
def test_a_way_has_only_conditions_that_ways_have(
    world: World, condition: dict[str, Any], possible: dict[str, Any]
) -> None:
    ways = [world.network.path(world.address(one), world.address(two)) for one, two in (("hs1", "hs2"),)]
    before = [way.conditions for way in ways]
    with pytest.raises(ValueError, match=r"No way is like that \(\w+="):
        world.condition("hs1", "hs2", **condition)
    assert [way.conditions for way in ways] == before
    world.condition("hs1", "hs2", **possible)
    assert [way.conditions for way in ways] != before


def test_a_world_begins_only_with_latencies_that_ways_have() -> None:
    with pytest.raises(ValueError, match="latency_ms=-1"):
        World(["hs1"], latency_ms=-1)
    assert World(["hs1"], latency_ms=0).servers


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ((["hs1"], ["hs1", "hs2"]), "hs1 is named twice"),
        ((["hs1", "hs2"],), "there is no other side"),
        ((), "there is no other side"),
    ],
)
def test_a_partition_has_two_sides_or_more(world: World, wrong: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        world.partition(*wrong)
    world.partition("hs1", ["hs2"])
    assert world.transcript.lines()[-1].endswith("the network parts: hs1 | hs2")


@pytest.mark.parametrize("word", ["cut", "condition"])
def test_a_machine_has_no_way_to_itself(world: World, word: str) -> None:
    change: Callable[..., None] = getattr(world, word)
    with pytest.raises(ValueError, match="hs1 has no way to itself"):
        change("hs1", "hs1")
    change("hs1", "hs2")


def test_a_name_is_given_once() -> None:
    world = World("hs1")  # one name is one server
    first = world["hs1"]
    with pytest.raises(ValueError, match="a server called hs1 already"):
        world.add_server("hs1")
    assert world["hs1"] is first
    assert list(world.servers) == ["hs1"]
    world.add_server("hs2")


def test_traffic_is_that_of_names_that_there_are(world: World) -> None:
    with pytest.raises(UnknownName, match="no server or person called 'hs9'"):
        world.traffic(["hs9"])
    assert world.traffic([]).requests == 0
    assert world.traffic(["alice"], ["hs1"]).requests == 1


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_clock_runs_forwards(world: World, rate: float) -> None:
    with pytest.raises(ValueError, match="fast as the truth"):
        world["hs1"].set_clock(rate=rate)
    world["hs1"].set_clock(rate=1.5)
    world["hs1"].restart()
    world.advance(hours=1)


def test_commits_are_counted_from_one(world: World) -> None:
    with pytest.raises(ValueError, match="the next is number 1"):
        world["hs1"].crash_at_commit(0)
    world["hs1"].crash_at_commit(1)
    with pytest.raises(RequestFailed):
        world.people["alice"].create_room()
    assert not world["hs1"].up


def test_who_comes_to_a_slow_server_later_finds_it_slow_too(world: World) -> None:
    world.slow("hs1", 500)
    carol = world.user("carol", on="hs1")
    begun_ms = world.now_ms
    carol.get("/account/whoami")
    assert world.now_ms - begun_ms >= 1_000
    dave = world.user("dave", on="hs2")
    begun_ms = world.now_ms
    dave.get("/account/whoami")
    assert world.now_ms - begun_ms < 100


def test_a_server_whose_name_has_a_port_listens_there() -> None:
    world = World(["hs1:1234", "hs2"])
    alice, bob = world.user("alice", on="hs1:1234"), world.user("bob", on="hs2")
    room_id = alice.create_room()
    bob.join(room_id, "hs1:1234")
    alice.send(room_id, "hello")
    world.settle()
    assert bob.bodies(room_id) == ["hello"]


def test_of_several_things_that_fail_side_by_side_the_first_is_told_and_no_other_is_left_over() -> None:
    world = World(["hs1", "hs2"])
    alice, _, room_id = room_of_two(world)

    async def fail(ms: float) -> None:
        await world.sleep(ms)
        raise ValueError(f"after {ms:g} ms")

    with pytest.raises(ValueError, match="after 5 ms"):
        world.run_all([fail(5), fail(1)])
    assert alice.send(room_id, "still here")
