"""Worlds: whole servers whose time, network and deaths are ours to say, and which repeat themselves."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.lab import World
from minihs.lab.driving import NeverHappened
from minihs.lab.http_client import RequestFailed
from minihs.lab.names import UnknownName
from minihs.lab.people import Client, Refused
from minihs.rooms.judge import Judge
from minihs.rooms.receipt import Accept, CitedEvents, Reject
from minihs.server import Policies

HOUR_MS = 3_600_000


def room_of_two(world: World) -> tuple[Client, Client, str]:
    alice, bob = world.user("alice", on="hs1"), world.user("bob", on="hs2")
    room_id = alice.create_room()
    bob.join(room_id, "hs1")
    world.settle()
    return alice, bob, room_id


def schedule(user: Client, room_id: str, delay_ms: int, body: str = "later") -> str:
    path = f"/rooms/{room_id}/delayed_event/m.room.message/{user.txn()}"
    content = {"msgtype": "m.text", "body": body}
    return str(user.put(path, {"delay_ms": delay_ms, "content": content})["delay_id"])


def test_a_world_of_two_servers_is_ready_in_150_ms_and_lives_8_days_in_a_second() -> None:
    World(["warm"])  # what is imported and compiled once
    gc.collect()  # so that what other tests left is not collected meanwhile
    begun = time.process_time()
    world = World(["hs1", "hs2"])
    ready_s = time.process_time() - begun
    alice, bob, room_id = room_of_two(world)
    begun = time.process_time()
    delay_id = schedule(alice, room_id, 24 * HOUR_MS)
    world.advance(hours=24, seconds=-1)
    assert bob.bodies(room_id) == []
    world.advance(seconds=2)
    assert bob.bodies(room_id) == ["later"]
    path = f"/_matrix/client/v1/delayed_events/{delay_id}"
    world.advance(days=7, seconds=-5)
    assert "event_id" in alice.get(path)["finalised"]
    world.advance(seconds=10)
    assert alice.request("GET", path).status == 404
    assert ready_s < 0.15
    assert time.process_time() - begun < 1.0


def test_a_partition_that_is_mended_lets_both_sides_agree_again() -> None:
    world = World(["hs1", "hs2"])
    alice, bob, room_id = room_of_two(world)
    world.partition(["hs1"], ["hs2"])
    alice.send(room_id, "a")
    bob.send(room_id, "b")
    world.advance(minutes=5)
    assert (alice.bodies(room_id), bob.bodies(room_id)) == (["a"], ["b"])
    world.heal()
    world.advance(minutes=30)
    assert sorted(alice.bodies(room_id)) == sorted(bob.bodies(room_id)) == ["a", "b"]


def test_a_one_way_cut_lets_requests_of_the_other_side_arrive_and_no_answers() -> None:
    world = World(["hs1", "hs2"])
    alice, bob, room_id = room_of_two(world)
    alice.send(room_id, "so that there is a connection")
    world.settle()
    world.cut("hs2", "hs1", one_way=True)
    alice.send(room_id, "heard")
    bob.send(room_id, "not heard")
    world.advance(seconds=20)
    assert bob.bodies(room_id)[1:] == ["not heard", "heard"] or bob.bodies(room_id)[1:] == [
        "heard",
        "not heard",
    ]
    assert alice.bodies(room_id)[1:] == ["heard"]
    world.heal()
    world.advance(minutes=30)
    assert sorted(alice.bodies(room_id)) == sorted(bob.bodies(room_id))


@pytest.mark.parametrize(
    "conditions",
    [
        {"loss": 0.2},
        {"jitter_ms": 80, "reordered": 0.3},
        {"duplicated": 1.0},
        {"broken": 0.15},
        {"bytes_per_s": 4_000},
    ],
    ids=lambda conditions: next(iter(conditions)),
)
def test_a_bad_link_loses_and_doubles_nothing(conditions: dict[str, float]) -> None:
    world = World(["hs1", "hs2"], seed=3)
    alice, bob, room_id = room_of_two(world)
    world.condition("hs1", "hs2", **conditions)
    for number in range(10):
        alice.send(room_id, f"a{number}")
        bob.send(room_id, f"b{number}")
        world.advance(ms=300)
    world.condition("hs1", "hs2", loss=0, broken=0, bytes_per_s=None)
    world.advance(minutes=20)
    expected = sorted(f"{who}{number}" for who in "ab" for number in range(10))
    assert sorted(alice.bodies(room_id)) == sorted(bob.bodies(room_id)) == expected


def test_what_was_repeated_on_the_way_was_really_received_twice() -> None:
    world = World(["hs1", "hs2"])
    alice, bob, room_id = room_of_two(world)
    before = world.traffic().requests
    alice.send(room_id, "once")
    world.settle()
    once = world.traffic().requests - before
    world.condition("hs1", "hs2", duplicated=1.0)
    world["hs2"].restart()  # so that there is a new connection
    world.advance(seconds=5)
    before = world.traffic(["hs1"], ["hs2"]).requests
    alice.send(room_id, "twice")
    world.advance(seconds=30)
    assert once == 1
    assert world.traffic(["hs1"], ["hs2"]).requests - before >= 2
    assert bob.bodies(room_id) == ["once", "twice"]


@pytest.mark.inline_store
def test_a_server_that_is_killed_loses_what_was_not_committed_and_nothing_else() -> None:
    world = World(["hs1"])
    alice = world.user("alice", on="hs1")
    room_id = alice.create_room()
    hs1 = world["hs1"]
    hs1.crash_at_commit()
    with pytest.raises(RequestFailed):
        alice.send(room_id, "lost")
    assert not hs1.up
    hs1.start()
    hs1.crash_at_commit(after=True)
    with pytest.raises(RequestFailed):
        alice.send(room_id, "kept, though nobody was told")
    with pytest.raises(RequestFailed):
        alice.send(room_id, "to a server that is down")
    hs1.start()
    assert alice.bodies(room_id) == ["kept, though nobody was told"]


def test_nothing_happens_in_a_server_that_was_killed() -> None:
    world = World(["hs1", "hs2"])
    alice, bob, room_id = room_of_two(world)
    schedule(alice, room_id, 60_000)
    world["hs1"].crash()
    world.advance(hours=1)
    assert bob.bodies(room_id) == []
    world["hs1"].start()
    world.advance(seconds=5)
    assert bob.bodies(room_id) == alice.bodies(room_id) == ["later"]


def test_the_clock_of_one_server_can_be_wrong() -> None:
    world = World(["hs1", "hs2"])
    world["hs2"].set_clock(skew_ms=5 * HOUR_MS)
    alice, bob, room_id = room_of_two(world)
    alice.send(room_id, "here")
    bob.send(room_id, "there")
    world.settle()
    stamps = {event["content"].get("body"): event["origin_server_ts"] for event in alice.messages(room_id)}
    assert abs(stamps["there"] - stamps["here"] - 5 * HOUR_MS) < 1_000


def test_traffic_is_counted_for_each_link_and_direction() -> None:
    world = World(["hs1", "hs2", "hs3"])
    alice, _, room_id = room_of_two(world)
    before = world.traffic(["hs1"], ["hs2"])
    alice.send(room_id, "one")
    alice.put(f"/rooms/{room_id}/typing/{alice.user_id}", {"typing": True, "timeout": 10_000})
    world.settle()
    spent = world.traffic(["hs1"], ["hs2"]) - before
    assert (spent.pdus, spent.edus) == (1, 1)
    assert 300 < spent.bytes < 5_000
    assert world.traffic(["hs2"], ["hs1"]).pdus == 0
    assert world.traffic(["hs3"]).requests == 0


@pytest.mark.inline_store  # the suite that makes stores wait keeps the clocks of the last worlds
def test_worlds_that_nobody_holds_are_gone_with_everything_they_held() -> None:
    def lived() -> weakref.ref[World]:
        world = World(["hs1", "hs2"])
        alice, _, room_id = room_of_two(world)
        world.cut("hs1", "hs2", silent=False)
        alice.send(room_id, "unheard")
        world.advance(minutes=1)
        world.stop()
        return weakref.ref(world)

    lived()
    files = Path("/proc/self/fd")
    before = (len(list(files.iterdir())), threading.active_count())
    worlds = [lived() for _ in range(3)]
    gc.collect()
    assert [world() for world in worlds] == [None] * 3
    assert (len(list(files.iterdir())), threading.active_count()) == before


def test_a_world_has_room_for_any_number_of_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihs.lab.world.SERVERS_IN_A_NETWORK", 2)
    world = World([f"hs{number}" for number in range(1, 6)])
    room_of_two(world)
    assert len({world.address(name) for name in (*world.servers, *world.people)}) == 7


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    world = World(["hs1", "hs2"])
    world.user("alice", on="hs1")
    with pytest.raises(UnknownName, match=r"no person called 'alcie'. Did you mean 'alice'\?"):
        world.user("alcie")
    with pytest.raises(UnknownName, match=r"no server called 'hs3'. Did you mean 'hs"):
        world.user("bob", on="hs3")
    with pytest.raises(UnknownName, match=r"no server called 'zz'. There is: hs1, hs2."):
        world.server("zz")


def test_what_never_happens_ends_with_what_was_pending() -> None:
    world = World(["hs1", "hs2", "hs3"], seed=77)
    alice, _, room_id = room_of_two(world)
    world["hs3"].crash()
    schedule(alice, room_id, 1_000_000)
    world.partition(["hs1"], ["hs2"])
    alice.send(room_id, "unheard")
    world.advance(minutes=2)
    with pytest.raises(NeverHappened) as caught:
        world.run_until(lambda: False, what="a miracle", within=10_000)
    told = str(caught.value)
    assert told.startswith("a miracle did not happen within 10 s.")
    for part in (
        "seed 77",
        "hs3 is down",
        "hs1 → hs2 is silent",
        "hs1 has events that hs2 has not got: it fails since 00:01:00.",
        "hs1 has 1 future scheduled, due at 00:16:40.",
        "Scheduler",
    ):
        assert part in told
    with pytest.raises(NeverHappened, match=r"^bob's ear did not happen within 2 s\."):
        world.until_seen(lambda: False, what="bob's ear", within=2_000)
    world.heal()
    world.advance(minutes=5)
    with pytest.raises(NeverHappened) as caught:
        world.run_until(lambda: False, what="a miracle", within=10)
    assert "has not got" not in str(caught.value)


def test_a_world_that_runs_in_circles_says_so() -> None:
    world = World(["hs1"])

    def again() -> None:
        world.clock.call_later(0, again)

    again()
    with pytest.raises(NeverHappened, match="Time stands still"):
        world.advance(seconds=1)


def test_a_refusal_that_a_story_did_not_expect_has_the_answer() -> None:
    world = World(["hs1"])
    alice = world.user("alice", on="hs1")
    with pytest.raises(Refused, match=r"403 .*M_FORBIDDEN"):
        alice.send("!nowhere:hs1", "hello")


def test_the_auth_trace_has_the_rule_and_the_state_that_decided_on_each_server() -> None:
    world = World(["hs1", "hs2"])
    alice, bob, room_id = room_of_two(world)
    world.partition(["hs1"], ["hs2"])
    alice.post(f"/rooms/{room_id}/ban", {"user_id": bob.user_id})
    event_id = bob.send(room_id, "evading")
    world.heal()
    world.advance(minutes=10)
    own, *elsewhere = world.auth_trace.about(event_id)
    assert (own.server, own.question, own.allowed) == ("hs2", "own", True)
    assert [(each.server, each.question, each.allowed) for each in elsewhere] == [
        ("hs1", "cited", True),
        ("hs1", "before", True),
        ("hs1", "current", False),
    ]
    ban = alice.state(room_id)["m.room.member", bob.user_id]["event_id"]
    assert elsewhere[-1].state[f"m.room.member|{bob.user_id}"] == ban
    assert elsewhere[-1].rule.startswith("v12 ")


def test_the_state_of_a_room_that_is_joined_is_judged_in_the_auth_trace() -> None:
    world = World(["hs1", "hs2"])
    _, bob, room_id = room_of_two(world)
    judged = {each.type: each for each in world.auth_trace.decisions if each.question == "outlier"}
    assert {each.server for each in judged.values()} == {"hs2"}
    assert {"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.member"} <= set(judged)
    levels = judged["m.room.power_levels"]
    creator = bob.state(room_id)["m.room.member", "@alice:hs1"]["event_id"]
    assert levels.allowed
    assert levels.state == {"m.room.member|@alice:hs1": creator}


def test_an_outlier_that_its_auth_events_do_not_allow_is_in_the_trace_with_the_rule() -> None:
    class Stern(Judge):
        def outlier(self, event: Event, cited: CitedEvents) -> Reject | Accept:
            if event.type == "m.room.join_rules":
                return Reject("v12 9", "on purpose")
            return super().outlier(event, cited)

    world = World(["hs1", "hs2"], policies=Policies(judge=Stern()))
    with pytest.raises(Refused):
        room_of_two(world)
    (refused,) = world.auth_trace.refusals()
    assert (refused.server, refused.question, refused.rule) == ("hs2", "outlier", "v12 9")


def story(seed: int, *, yields: bool = False) -> bytes:
    """A story with faults; its transcript."""
    world = World(["hs1", "hs2"], seed=seed, yields=yields)
    alice, bob, room_id = room_of_two(world)
    world.condition("hs1", "hs2", loss=0.1, jitter_ms=30, duplicated=0.2)
    delay_id = schedule(alice, room_id, 2_000)
    for number in range(5):
        bob.send(room_id, str(number))
        alice.post(f"/_matrix/client/v1/delayed_events/{delay_id}/restart")
        world.advance(ms=700)
    world["hs1"].restart()
    world.partition(["hs1"], ["hs2"])
    world.advance(seconds=10)
    world.heal()
    world.advance(minutes=5)
    bob.sync()
    return world.transcript.to_json()


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    first = story(5)
    assert first == story(5)
    assert first != story(6)


@pytest.mark.parametrize("yields", [False, True])
def test_the_order_of_hash_tables_changes_nothing(yields: bool) -> None:
    program = (
        "import sys; from tests.lab.test_world import story;"
        f"sys.stdout.buffer.write(story(5, yields={yields}))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert b"later" in told[0]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell that runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_turning_of_a_world_and_is_no_failure_inside_it() -> None:
    """Raised inside a coroutine, it would be the failure of that coroutine, and the world would go on."""
    world = World()
    ended: list[str] = []

    async def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        ended.append("in peace")

    world.clock.call_later(1_000, lambda: Deferred.fromCoroutine(interrupted()))
    with pytest.raises(KeyboardInterrupt):
        world.advance(hours=1)
    assert ended == ["in peace"]
    assert world.now_ms == 1_000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    world.advance(hours=1)


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_ends_a_call_that_takes_for_ever() -> None:
    world = World()
    pressed = 0

    def endless() -> None:
        nonlocal pressed
        while pressed < 1_000:
            pressed += 1
            signal.raise_signal(signal.SIGINT)

    world.clock.call_later(1_000, endless)
    with pytest.raises(KeyboardInterrupt):
        world.advance(hours=1)
    assert pressed == 2
