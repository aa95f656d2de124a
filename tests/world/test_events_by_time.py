"""Finding events by time over the client API, here and where another server has the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.lab.memory_network import Link
from tests.support.world import Client, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2", rate_limits__enabled=False)
    yield world
    world.stop()


def ask(user: Client, room_id: str, ts: int, direction: str) -> Any:
    path = f"/_matrix/client/v1/rooms/{quote(room_id)}/timestamp_to_event"
    return user.request("GET", path, query={"ts": ts, "dir": direction})


def found(user: Client, room_id: str, ts: int, direction: str) -> str:
    reply = ask(user, room_id, ts, direction)
    assert reply.status == 200, reply.json
    event = user.get(f"/rooms/{quote(room_id)}/event/{quote(reply.json['event_id'], safe='')}")
    assert event["origin_server_ts"] == reply.json["origin_server_ts"]
    return str(reply.json["event_id"])


def talk(world: World, user: Client, room_id: str, number: int) -> tuple[list[str], list[int]]:
    """Messages a minute apart: their IDs, and when each was sent."""
    ids, times = [], []
    for each in range(number):
        world.advance(minutes=1)
        times.append(int(world.clock.wall_ms()))
        ids.append(user.send(room_id, str(each)))
    return ids, times


def test_the_nearest_event_is_found_in_both_directions(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    ids, times = talk(world, alice, room_id, 3)
    assert found(alice, room_id, times[1] - 1_000, "f") == ids[1]
    assert found(alice, room_id, times[1] - 1_000, "b") == ids[0]
    for ts, direction in ((times[2] + 60_000, "f"), (0, "b")):
        nothing = ask(alice, room_id, ts, direction)
        assert (nothing.status, nothing.errcode) == (404, "M_NOT_FOUND")


def test_events_that_the_user_may_not_see_are_passed_over(world: World) -> None:
    alice, late = world["hs1"].user("alice"), world["hs1"].user("late")
    room_id = alice.create_room(
        initial_state=[{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    )
    ids, times = talk(world, alice, room_id, 3)
    stranger = ask(late, room_id, times[0], "f")
    assert (stranger.status, stranger.errcode) == (403, "M_FORBIDDEN")
    late.join(room_id)
    joined = late.state(room_id)["m.room.member", late.user_id]["event_id"]
    assert found(late, room_id, times[0], "f") == joined
    # Before the setting, everything was for later members, too.
    assert found(late, room_id, times[2] - 1, "b") not in ids
    assert found(alice, room_id, times[2] - 1, "b") == ids[1]


@pytest.mark.parametrize("direction", ["f", "b"])
def test_history_that_only_another_server_has_is_fetched_so_that_one_can_read_around_it(
    world: World, direction: str
) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room()
    ids, times = talk(world, alice, room_id, 250)
    bob.join(room_id, "hs1")
    ts = times[100] + (-1 if direction == "f" else 1)
    assert found(bob, room_id, ts, direction) == ids[100]
    context = bob.get(f"/rooms/{quote(room_id)}/context/{quote(ids[100], safe='')}", query={"limit": 2})
    assert [event["event_id"] for event in context["events_before"]] == [ids[99]]
    assert [event["event_id"] for event in context["events_after"]] == [ids[101]]
    # Nothing is out of its order, whatever was fetched.
    shown = [event["content"].get("body") for event in bob.messages(room_id, limit=300)]
    bodies = [int(body) for body in shown if body]
    assert bodies == list(range(249, 249 - len(bodies), -1))


def test_where_nobody_helps_the_nearest_event_here_is_the_answer(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room()
    _, times = talk(world, alice, room_id, 3)
    bob.join(room_id, "hs1")
    joined = bob.state(room_id)["m.room.member", bob.user_id]["event_id"]
    one, other = (world[name].host.address for name in ("hs1", "hs2"))
    world.network.set_link(one, other, Link.REFUSING)
    assert found(bob, room_id, times[0], "f") == joined
    nothing = ask(bob, room_id, times[0], "b")
    assert (nothing.status, nothing.errcode) == (404, "M_NOT_FOUND")


def test_a_server_that_names_events_that_are_none_costs_a_bounded_search(world: World) -> None:
    """What it names steers only how far is fetched; the answer is always an event that is here."""
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room()
    ids, times = talk(world, alice, room_id, 5)
    bob.join(room_id, "hs1")
    lookups = world["hs2"].server.parts.inbound.distant_times._lookups
    honest = lookups.timestamp_to_event

    async def lying(*question: Any) -> Any:
        answer = await honest(*question)
        return type(answer)("$" + "x" * 43, answer.origin_server_ts)

    lookups.timestamp_to_event = lying
    assert found(bob, room_id, times[2], "f") == ids[2]
