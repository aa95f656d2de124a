"""Invited, knocked, left and forgotten rooms in /sync."""

from __future__ import annotations

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.store.writer import Batch
from tests.support.sync_service import Client, SyncServer, bodies, state_of, timeline_ids

ALICE, BOB = "@alice:hs1", "@bob:hs1"
LEFT_TOO = {"room": {"include_leave": True}}


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def knockable(server: SyncServer) -> RoomID:
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    return server.create(extra=[rules])


def test_an_invite_comes_with_stripped_state(server: SyncServer) -> None:
    room = server.create()
    bob = Client(server, BOB)
    bob.sync()
    server.join(room, BOB, "invite", by=ALICE)
    events = bob.sync()["rooms"]["invite"][room]["invite_state"]["events"]
    by_key = {(event["type"], event["state_key"]): event for event in events}
    assert {("m.room.create", ""), ("m.room.join_rules", ""), ("m.room.member", ALICE)} <= by_key.keys()
    assert by_key["m.room.member", BOB]["content"]["membership"] == "invite"
    assert all(event.keys() == {"type", "state_key", "sender", "content"} for event in events)
    assert "rooms" not in bob.sync()


def test_a_first_sync_names_open_invites(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB, "invite", by=ALICE)
    assert list(Client(server, BOB).sync()["rooms"]["invite"]) == [room]


def test_a_knock_comes_with_stripped_state(server: SyncServer) -> None:
    room = knockable(server)
    bob = Client(server, BOB)
    bob.sync()
    server.join(room, BOB, "knock")
    events = bob.sync()["rooms"]["knock"][room]["knock_state"]["events"]
    assert events[-1]["content"]["membership"] == "knock"
    assert events[0]["type"] == "m.room.create"


def test_an_invite_from_afar_shows_the_state_that_came_with_it(server: SyncServer) -> None:
    bob = Client(server, BOB)
    bob.sync()
    position = server.service.stream.allocate()
    batch = Batch()
    batch.add(
        "INSERT INTO memberships (user_id, room_id, membership, event_id, sender, position, invite_state)"
        " VALUES (?, '!far:hs2', 'invite', '$invite', '@carol:hs2', ?, ?)",
        (BOB, position, b'[{"type":"m.room.name","state_key":"","sender":"@c:hs2","content":{},"x":1}]'),
    )

    async def store() -> None:
        await server.writer.submit(batch)

    server.run(store())
    server.service.stream.committed(position)
    server.syncs.feed.membership_written(UserID(BOB))
    entry = bob.sync()["rooms"]["invite"]["!far:hs2"]
    assert entry["invite_state"]["events"] == [
        {"type": "m.room.name", "state_key": "", "sender": "@c:hs2", "content": {}}
    ]
    assert "rooms" not in bob.sync()


def test_who_leaves_is_told_up_to_the_leave_and_nothing_later(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    bob = Client(server, BOB)
    bob.sync()
    ids = [server.say(room, ALICE, "before"), server.join(room, BOB, "leave")]
    server.say(room, ALICE, "after")
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "after"})
    left = bob.sync()["rooms"]["leave"][room]
    assert timeline_ids(left) == ids
    assert state_of(left) == {}
    assert "rooms" not in bob.sync()


def test_a_rejected_invite_is_told_by_the_users_own_event(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB, "invite", by=ALICE)
    bob = Client(server, BOB)
    bob.sync()
    server.say(room, ALICE, "not for bob")
    leave = server.join(room, BOB, "leave")
    left = bob.sync()["rooms"]["leave"][room]
    assert timeline_ids(left) == [leave]
    assert state_of(left) == {}


def test_joining_and_leaving_between_two_syncs_shows_a_room_that_was_left(server: SyncServer) -> None:
    room = server.create()
    bob = Client(server, BOB)
    bob.sync()
    ids = [server.join(room, BOB), server.join(room, BOB, "leave")]
    left = bob.sync()["rooms"]["leave"][room]
    assert timeline_ids(left)[-2:] == ids


def test_a_first_sync_names_left_rooms_only_when_asked(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.say(room, ALICE, "before")
    server.join(room, BOB, "leave")
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "after"})
    assert "rooms" not in Client(server, BOB).sync()
    left = Client(server, BOB).sync(filter={"room": {"include_leave": True, "timeline": {"limit": 2}}})
    entry = left["rooms"]["leave"][room]
    assert bodies(entry) == ["before"]
    assert ("m.room.topic", "") not in state_of(entry)
    assert ("m.room.create", "") in state_of(entry)


def test_a_ban_after_leaving_shows_nothing_of_the_time_between(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    bob = Client(server, BOB)
    bob.sync()
    server.join(room, BOB, "leave")
    bob.sync()
    server.say(room, ALICE, "between")
    ban = server.join(room, BOB, "ban", by=ALICE)
    left = bob.sync()["rooms"]["leave"][room]
    assert timeline_ids(left) == [ban]


def test_a_forgotten_room_is_never_named(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.join(room, BOB, "leave")
    assert room in Client(server, BOB).sync(filter=LEFT_TOO)["rooms"]["leave"]
    batch = Batch()
    batch.add("UPDATE memberships SET forgotten = 1 WHERE user_id = ?", (BOB,))

    async def store() -> None:
        await server.writer.submit(batch)

    server.run(store())
    assert "rooms" not in Client(server, BOB).sync(filter=LEFT_TOO)


def test_rooms_that_the_filter_leaves_out_are_not_named(server: SyncServer) -> None:
    wanted, unwanted = server.create(), server.create()
    only = Client(server, filter={"room": {"rooms": [wanted]}})
    assert list(only.sync()["rooms"]["join"]) == [wanted]
    but = Client(server, filter={"room": {"not_rooms": [unwanted]}})
    assert list(but.sync()["rooms"]["join"]) == [wanted]
    server.say(unwanted, ALICE)
    assert "rooms" not in but.sync()
