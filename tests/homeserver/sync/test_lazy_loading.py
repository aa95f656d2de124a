"""Lazy-loaded members in /sync."""

from __future__ import annotations

import pytest

from tests.support.sync_service import Client, SyncServer, joined, state_of, timeline_ids

ALICE, BOB, CAROL, DAVE = "@alice:hs1", "@bob:hs1", "@carol:hs1", "@dave:hs1"
LAZY = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}}
LAZY_LONG = {"room": {"state": {"lazy_load_members": True}}}
REDUNDANT = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def members(entry: dict[str, object]) -> set[str]:
    return {key for type_, key in state_of(entry) if type_ == "m.room.member"}


def crowded(server: SyncServer) -> str:
    """A named room with four members, so that there are no heroes."""
    room = server.create()
    for user in (BOB, CAROL, DAVE):
        server.join(room, user)
    server.send(room, ALICE, "m.room.name", state_key="", content={"name": "Den"})
    return room


def test_a_first_sync_has_the_senders_and_the_user_alone(server: SyncServer) -> None:
    room = crowded(server)
    server.say(room, BOB)
    entry = joined(Client(server, filter=LAZY).sync(), room)
    assert members(entry) == {ALICE, BOB}
    assert ("m.room.name", "") in state_of(entry)


def test_without_lazy_loading_all_members_are_there(server: SyncServer) -> None:
    room = crowded(server)
    server.say(room, BOB)
    entry = joined(Client(server, filter={"room": {"timeline": {"limit": 1}}}).sync(), room)
    assert members(entry) == {ALICE, BOB, CAROL, DAVE}


def test_heroes_come_with_their_member_events(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.join(room, CAROL)
    server.say(room, ALICE)
    entry = joined(Client(server, filter=LAZY).sync(), room)
    assert entry["summary"]["m.heroes"] == [BOB, CAROL]
    assert members(entry) == {ALICE, BOB, CAROL}


def test_a_new_speaker_is_introduced_once(server: SyncServer) -> None:
    room = crowded(server)
    server.say(room, ALICE)
    client = Client(server, filter=LAZY)
    client.sync()
    server.say(room, CAROL)
    assert members(joined(client.sync(), room)) == {CAROL}
    server.say(room, CAROL)
    assert members(joined(client.sync(), room)) == set()


def test_redundant_members_are_repeated_on_request(server: SyncServer) -> None:
    room = crowded(server)
    client = Client(server, filter=REDUNDANT)
    client.sync()
    server.say(room, CAROL)
    assert members(joined(client.sync(), room)) == {CAROL}
    server.say(room, CAROL)
    assert members(joined(client.sync(), room)) == {CAROL}


def test_a_member_who_joins_in_the_timeline_needs_no_introduction(server: SyncServer) -> None:
    room = server.create()
    server.send(room, ALICE, "m.room.name", state_key="", content={"name": "Den"})
    client = Client(server, filter=LAZY_LONG)
    client.sync()
    server.join(room, BOB)
    server.say(room, BOB)
    assert members(joined(client.sync(), room)) == set()
    server.say(room, BOB)
    assert members(joined(client.sync(), room)) == set()


def test_a_changed_member_is_told_through_the_timeline_or_the_gap(server: SyncServer) -> None:
    room = crowded(server)
    client = Client(server, filter=LAZY)
    client.sync()
    server.send(
        room, DAVE, "m.room.member", state_key=DAVE, content={"membership": "join", "displayname": "D"}
    )
    server.say(room, ALICE)
    server.say(room, ALICE)
    assert DAVE in members(joined(client.sync(), room))


def test_a_reply_that_was_lost_is_made_again_whole(server: SyncServer) -> None:
    room = crowded(server)
    server.say(room, ALICE)
    client = Client(server, filter=LAZY)
    client.sync()
    before = client.token
    server.say(room, CAROL)
    assert members(joined(client.sync(), room)) == {CAROL}
    assert members(joined(client.sync(since=before), room)) == {CAROL}


def test_each_device_is_introduced_for_itself(server: SyncServer) -> None:
    room = crowded(server)
    server.say(room, ALICE)
    phone, laptop = Client(server, filter=LAZY), Client(server, device_id="LAPTOP", filter=LAZY)
    phone.sync(), laptop.sync()
    server.say(room, CAROL)
    assert members(joined(phone.sync(), room)) == members(joined(laptop.sync(), room)) == {CAROL}


def test_state_after_has_the_senders_as_they_are_at_the_end(server: SyncServer) -> None:
    room = crowded(server)
    client = Client(server, filter=LAZY_LONG)
    client.sync()
    server.say(room, BOB)
    content = {"membership": "join", "displayname": "Robert"}
    server.send(room, BOB, "m.room.member", state_key=BOB, content=content)
    entry = joined(client.sync(use_state_after=True), room)
    assert state_of(entry, "state_after") == {("m.room.member", BOB): content}


def test_a_room_that_was_left_introduces_its_speakers(server: SyncServer) -> None:
    room = crowded(server)
    bob = Client(server, BOB, filter=LAZY_LONG)
    bob.sync()
    server.say(room, DAVE)
    server.join(room, BOB, "leave")
    left = bob.sync(since=bob.token)["rooms"]["leave"][room]
    assert len(timeline_ids(left)) == 2
