"""MSC2228 as server code: what carries its end is redacted when the server's own clock says so."""

from __future__ import annotations

import pytest

from minihs.lab import World
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.proposals.msc2228 import AFTER, FOR, REDACTION, SelfDestruction
from minihs.lab.proposals.switch import Switch
from minihs.lab.views import view_of

MINUTE_MS = 60_000


def scene(*, everywhere: bool = False) -> tuple[World, Client, Client, str]:
    """Alice on hs1, and Bob on hs2, which knows the proposal; `everywhere`: Alice's server knows it, too."""
    world = World(seed=1)
    switch = Switch(world, SelfDestruction)
    world.add_server("hs1", policies=switch.policies("hs1") if everywhere else None)
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


# After it was read


def read_and_forget(*, everywhere: bool = False) -> tuple[World, Client, Client, Client, str, str]:
    """Alice's message is to go a minute after it was read; Carol is on Bob's server."""
    world, alice, bob, room_id = scene(everywhere=everywhere)
    carol = world.user("carol", "hs2")
    carol.join(room_id)
    world.settle()
    event_id = alice.send_event(room_id, "m.room.message", {"body": "secret", FOR: MINUTE_MS})
    world.settle()
    return world, alice, bob, carol, room_id, event_id


def read(person: Client, room_id: str, event_id: str, kind: str = "m.read") -> None:
    person.post(f"/rooms/{in_path(room_id)}/receipt/{kind}/{in_path(event_id)}")
    person.world.settle()


def redactions(person: Client, room_id: str) -> list[str]:
    return [event["content"]["redacts"] for event in person.messages(room_id) if event["type"] == REDACTION]


def test_it_is_gone_for_its_reader_a_minute_after_the_receipt_and_for_nobody_else() -> None:
    world, _, bob, carol, room_id, event_id = read_and_forget()
    world.advance(hours=1)
    assert content(bob, room_id, event_id) != {}
    for person in (bob, carol):
        person.sync()
    read(bob, room_id, event_id)
    world.advance(seconds=58)
    assert content(bob, room_id, event_id) != {}
    world.advance(seconds=3)
    assert content(bob, room_id, event_id) == {}
    assert redactions(bob, room_id) == [event_id]
    assert bob.bodies(room_id) == []
    (synthetic,) = bob.sync()["rooms"]["join"][room_id]["timeline"]["events"]
    assert synthetic["content"] == {"m.synthetic": True, "redacts": event_id}
    assert content(carol, room_id, event_id) != {}
    assert redactions(carol, room_id) == []
    nothing = {"timeline": {"events": []}}
    told = carol.sync().get("rooms", {"join": {}})["join"].get(room_id, nothing)
    assert told["timeline"]["events"] == []


@pytest.mark.parametrize("everywhere", [False, True])
def test_when_all_others_have_read_it_it_goes_for_its_sender_where_the_server_knows_the_proposal(
    everywhere: bool,
) -> None:
    world, alice, bob, carol, room_id, event_id = read_and_forget(everywhere=everywhere)
    read(bob, room_id, event_id)
    world.advance(minutes=2)
    assert content(alice, room_id, event_id) != {}
    read(carol, room_id, event_id)
    world.advance(minutes=2)
    assert (content(alice, room_id, event_id) == {}) is everywhere


@pytest.mark.parametrize(("kind", "is_newest", "goes"), [
    ("m.read", False, True),
    ("m.read", True, False),
    ("m.read.private", False, False),
])  # fmt: skip
def test_only_a_public_receipt_for_the_message_itself_counts(kind: str, is_newest: bool, goes: bool) -> None:
    world, alice, bob, _, room_id, event_id = read_and_forget()
    newest = alice.send(room_id, "anything else")
    world.settle()
    read(bob, room_id, newest if is_newest else event_id, kind)
    world.advance(minutes=2)
    assert (content(bob, room_id, event_id) == {}) is goes


def test_its_sender_reading_it_starts_nothing() -> None:
    world, alice, _, _, room_id, event_id = read_and_forget(everywhere=True)
    read(alice, room_id, event_id)
    world.advance(minutes=2)
    assert content(alice, room_id, event_id) != {}


def test_a_reader_s_minute_and_what_is_gone_for_them_survive_a_restart() -> None:
    world, _, bob, carol, room_id, event_id = read_and_forget()
    read(bob, room_id, event_id)
    world.advance(seconds=30)
    world["hs2"].crash()
    world.advance(minutes=5)
    world["hs2"].start()
    world.advance(seconds=1)
    assert content(bob, room_id, event_id) == {}
    world["hs2"].restart()
    world.advance(minutes=5)
    assert content(bob, room_id, event_id) == {}
    assert redactions(bob, room_id) == [event_id]
    assert content(carol, room_id, event_id) != {}


# Edits


def edit(alice: Client, room_id: str, event_id: str, **fields: object) -> str:
    relation = {"rel_type": "m.replace", "event_id": event_id}
    changed = {"body": "* new", "m.new_content": {"body": "new"}, "m.relates_to": relation, **fields}
    new = alice.send_event(room_id, "m.room.message", changed)
    alice.world.settle()
    return new


@pytest.mark.parametrize(("minutes", "gone_after"), [(5, 5), (20, 20), (None, None)])
def test_an_edit_replaces_when_it_is_to_go_and_all_versions_go(
    minutes: int | None, gone_after: int | None
) -> None:
    world, alice, bob, room_id = scene()
    now_ms = world["hs1"].clock.wall_ms()
    first = say(world, alice, room_id, now_ms + 10 * MINUTE_MS)
    fields = {} if minutes is None else {AFTER: now_ms + minutes * MINUTE_MS}
    second = edit(alice, room_id, first, **fields)
    for at in (4, 6, 11, 21):
        world.advance(ms=now_ms + at * MINUTE_MS - world["hs1"].clock.wall_ms())
        is_gone = gone_after is not None and at > gone_after
        for version in (first, second):
            assert (content(bob, room_id, version) == {}) is is_gone


def test_an_edit_begins_a_readers_time_anew() -> None:
    world, alice, bob, _, room_id, event_id = read_and_forget()
    read(bob, room_id, event_id)
    world.advance(seconds=50)
    edit(alice, room_id, event_id, **{FOR: MINUTE_MS})
    world.advance(seconds=50)
    assert content(bob, room_id, event_id) != {}
    world.advance(seconds=11)
    assert content(bob, room_id, event_id) == {}


def test_an_edit_that_comes_too_late_goes_at_once_also_after_a_restart() -> None:
    world, alice, bob, room_id = scene()
    event_id = say(world, alice, room_id, world["hs1"].clock.wall_ms() + MINUTE_MS)
    world.advance(minutes=2)
    assert content(bob, room_id, edit(alice, room_id, event_id)) == {}
    world["hs2"].restart()
    assert content(bob, room_id, edit(alice, room_id, event_id)) == {}


def test_what_others_send_as_an_edit_changes_nothing() -> None:
    world, alice, bob, room_id = scene()
    event_id = say(world, alice, room_id, world["hs1"].clock.wall_ms() + MINUTE_MS)
    edit(bob, room_id, event_id)
    world.advance(minutes=2)
    assert content(bob, room_id, event_id) == {}
