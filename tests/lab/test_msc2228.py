"""MSC2228 as server code: what carries its end is redacted when the server's own clock says so."""

from __future__ import annotations

import pytest

from minihs.lab import World
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.proposals.msc2228 import AFTER, REDACTION, SelfDestruction
from minihs.lab.proposals.switch import Switch
from minihs.lab.views import view_of


def scene() -> tuple[World, Client, Client, str]:
    """Alice on hs1, and Bob on hs2, which knows the proposal."""
    world = World(seed=1)
    switch = Switch(world, SelfDestruction)
    world.add_server("hs1")
    world.add_server("hs2", policies=switch.policies("hs2"))
    alice, bob = world.user("alice", "hs1"), world.user("bob", "hs2")
    room_id = alice.create_room()
    bob.join(room_id, "hs1")
    world.settle()
    return world, alice, bob, room_id


def say(world: World, alice: Client, room_id: str, moment: object) -> str:
    event_id = alice.send_event(room_id, "m.room.message", {"body": "secret", AFTER: moment})
    world.settle()
    return event_id


def content(person: Client, room_id: str, event_id: str) -> object:
    return person.get(f"/rooms/{in_path(room_id)}/event/{in_path(event_id)}")["content"]


def test_it_is_redacted_at_its_time_by_a_redaction_that_is_in_no_graph() -> None:
    world, alice, bob, room_id = scene()
    event_id = say(world, alice, room_id, world["hs1"].clock.wall_ms() + 60_000)
    bob.sync()
    world.advance(seconds=59)
    assert content(bob, room_id, event_id) != {}
    world.advance(seconds=2)
    assert content(bob, room_id, event_id) == {}
    assert content(alice, room_id, event_id) != {}
    (synthetic,) = bob.sync()["rooms"]["join"][room_id]["timeline"]["events"]
    assert (synthetic["type"], synthetic["sender"]) == (REDACTION, alice.user_id)
    assert synthetic["content"] == {"m.synthetic": True, "redacts": event_id}
    bob.send(room_id, "afterwards")
    world.settle()
    there = view_of(world["hs1"], room_id)
    assert there is not None
    assert there.row(synthetic["event_id"]) is None
    assert alice.bodies(room_id) == ["secret", "afterwards"]


def test_what_came_due_while_the_server_was_down_goes_when_it_is_back() -> None:
    world, alice, bob, room_id = scene()
    event_id = say(world, alice, room_id, world["hs1"].clock.wall_ms() + 60_000)
    world["hs2"].crash()
    world.advance(minutes=2)
    world["hs2"].start()
    world.advance(seconds=1)
    assert content(bob, room_id, event_id) == {}
    world["hs2"].restart()
    world.advance(seconds=1)
    assert [event["type"] for event in bob.messages(room_id)].count(REDACTION) == 1


@pytest.mark.parametrize("moment", [None, "soon", True, [1]])
def test_a_time_that_is_none_has_no_effect(moment: object) -> None:
    world, alice, bob, room_id = scene()
    event_id = say(world, alice, room_id, moment)
    world.advance(hours=1)
    assert content(bob, room_id, event_id) != {}
