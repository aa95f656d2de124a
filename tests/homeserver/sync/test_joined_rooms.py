"""Joined rooms in /sync: time lines, state, gaps, summaries."""

from __future__ import annotations

import pytest

from minihs.events.ids import EventID
from minihs.homeserver.sync.room_section import INITIAL_LIMIT
from tests.support.sync_service import Client, SyncServer, bodies, joined, state_of, timeline_ids

ALICE, BOB, CAROL = "@alice:hs1", "@bob:hs1", "@carol:hs1"
TEXT = {"room": {"timeline": {"types": ["m.room.message"]}}}


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def small(limit: int) -> dict[str, object]:
    return {"room": {"timeline": {"limit": limit}}}


def test_a_first_sync_shows_a_small_room_whole_in_its_timeline(server: SyncServer) -> None:
    room = server.create()
    server.say(room, ALICE, "one")
    entry = joined(Client(server).sync(), room)
    assert entry["timeline"]["events"][0]["type"] == "m.room.create"
    assert bodies(entry) == ["one"]
    assert entry["timeline"]["limited"] is False
    assert entry["state"]["events"] == []


def test_a_first_sync_of_a_longer_room_has_the_state_before_its_timeline(server: SyncServer) -> None:
    room = server.create()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "old"})
    server.say(room, ALICE, "one")
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "new"})
    entry = joined(Client(server, filter=small(2)).sync(), room)
    assert entry["timeline"]["limited"] is True
    assert state_of(entry)["m.room.topic", ""] == {"topic": "old"}
    assert ("m.room.create", "") in state_of(entry)


def test_state_after_has_the_state_at_the_end_of_the_timeline(server: SyncServer) -> None:
    room = server.create()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "old"})
    server.say(room, ALICE, "one")
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "new"})
    entry = joined(Client(server, filter=small(2)).sync(use_state_after=True), room)
    assert state_of(entry, "state_after")["m.room.topic", ""] == {"topic": "new"}
    assert "state" not in entry


def test_the_next_sync_has_only_what_is_new(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    new = server.say(room, ALICE, "two")
    entry = joined(client.sync(), room)
    assert timeline_ids(entry) == [new]
    assert (entry["timeline"]["limited"], entry["state"]["events"]) == (False, [])


def test_a_sync_without_news_names_no_rooms(server: SyncServer) -> None:
    server.create()
    client = Client(server)
    client.sync()
    assert "rooms" not in client.sync()


def test_a_gap_brings_the_state_that_changed_in_it_and_no_other(server: SyncServer) -> None:
    room = server.create()
    client = Client(server, filter=small(1))
    client.sync()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "in the gap"})
    server.say(room, ALICE, "one")
    server.say(room, ALICE, "two")
    entry = joined(client.sync(), room)
    assert (bodies(entry), entry["timeline"]["limited"]) == (["two"], True)
    assert state_of(entry) == {("m.room.topic", ""): {"topic": "in the gap"}}


def test_state_that_changed_before_and_in_the_timeline_is_given_as_before_it(server: SyncServer) -> None:
    room = server.create()
    client = Client(server, filter=small(1))
    client.sync()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "first"})
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "second"})
    entry = joined(client.sync(), room)
    assert entry["timeline"]["events"][0]["content"] == {"topic": "second"}
    assert state_of(entry) == {("m.room.topic", ""): {"topic": "first"}}


def test_state_in_a_timeline_without_a_gap_is_not_repeated(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "first"})
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "second"})
    assert joined(client.sync(), room)["state"]["events"] == []


def test_state_after_of_an_increment_has_what_the_timeline_sets(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "first"})
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "second"})
    entry = joined(client.sync(use_state_after=True), room)
    assert state_of(entry, "state_after") == {("m.room.topic", ""): {"topic": "second"}}


def test_state_that_the_timeline_filter_hides_is_given_as_state(server: SyncServer) -> None:
    room = server.create()
    client = Client(server, filter=TEXT)
    client.sync()
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "quiet"})
    entry = joined(client.sync(), room)
    assert (timeline_ids(entry), state_of(entry)) == ([], {("m.room.topic", ""): {"topic": "quiet"}})


def test_full_state_gives_all_state_and_only_new_events(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    new = server.say(room, ALICE, "two")
    entry = joined(client.sync(full_state=True), room)
    assert timeline_ids(entry) == [new]
    assert {("m.room.create", ""), ("m.room.member", ALICE)} <= state_of(entry).keys()


def test_full_state_names_rooms_without_news_too(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    entry = joined(client.sync(full_state=True), room)
    assert timeline_ids(entry) == []
    assert ("m.room.create", "") in state_of(entry)


def test_a_room_that_was_joined_since_comes_with_its_history_and_state(server: SyncServer) -> None:
    room = server.create()
    for number in range(INITIAL_LIMIT):
        server.say(room, ALICE, f"{number}")
    bob = Client(server, BOB)
    bob.sync()
    join = server.join(room, BOB)
    entry = joined(bob.sync(), room)
    assert timeline_ids(entry)[-1] == join
    assert len(timeline_ids(entry)) == INITIAL_LIMIT
    assert entry["timeline"]["limited"] is True
    assert ("m.room.power_levels", "") in state_of(entry)
    assert ("m.room.member", BOB) not in state_of(entry)


def test_a_profile_change_is_no_new_join(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    change = server.send(
        room,
        ALICE,
        "m.room.member",
        state_key=ALICE,
        content={"membership": "join", "displayname": "Alice"},
    )
    entry = joined(client.sync(), room)
    assert timeline_ids(entry) == [change.event_id]
    assert state_of(entry) == {}


def test_someone_who_comes_back_gets_what_was_said_meanwhile_once(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    bob = Client(server, BOB)
    bob.sync()
    leave = server.join(room, BOB, "leave")
    left = bob.sync()["rooms"]["leave"][room]
    assert timeline_ids(left) == [leave]
    missed = server.say(room, ALICE, "while away")
    bob.sync()
    back = server.join(room, BOB)
    entry = joined(bob.sync(), room)
    assert timeline_ids(entry) == [missed, back]
    assert entry["timeline"]["limited"] is True
    assert ("m.room.create", "") in state_of(entry)


def test_leaving_and_joining_between_two_syncs_is_one_timeline(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    bob = Client(server, BOB)
    bob.sync()
    ids = [server.join(room, BOB, "leave"), server.say(room, ALICE), server.join(room, BOB)]
    entry = joined(bob.sync(), room)
    assert timeline_ids(entry) == ids


def test_the_summary_counts_members_and_names_heroes(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.join(room, CAROL, "invite", by=ALICE)
    summary = joined(Client(server).sync(), room)["summary"]
    assert summary == {
        "m.joined_member_count": 2,
        "m.invited_member_count": 1,
        "m.heroes": [BOB, CAROL],
    }


def test_a_room_with_a_name_has_no_heroes(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.send(room, ALICE, "m.room.name", state_key="", content={"name": "Den"})
    assert "m.heroes" not in joined(Client(server).sync(), room)["summary"]


def test_the_summary_is_repeated_when_members_change_and_only_then(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    server.say(room, ALICE)
    assert "summary" not in joined(client.sync(), room)
    server.join(room, BOB)
    assert joined(client.sync(), room)["summary"]["m.joined_member_count"] == 2


def test_those_who_left_stand_for_a_room_that_nobody_else_is_in(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.join(room, BOB, "leave")
    assert joined(Client(server).sync(), room)["summary"]["m.heroes"] == [BOB]


def test_a_sync_from_beyond_the_window_of_memory_is_answered_from_the_store(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    ids = [
        server.say(room, ALICE, "one"),
        server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "x"}).event_id,
    ]
    server.restart()
    entry = joined(client.sync(), room)
    assert timeline_ids(entry) == ids
    assert joined(client.sync(), room) == {}


def test_a_redacted_event_is_served_redacted_with_the_reason(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    said = server.say(room, ALICE, "secret")
    redaction = server.send(room, ALICE, "m.room.redaction", content={"redacts": said}, redacts=said)
    redacted, because = joined(client.sync(), room)["timeline"]["events"]
    assert redacted["content"] == {}
    assert redacted["unsigned"]["redacted_because"]["event_id"] == redaction.event_id
    assert because["redacts"] == said


@pytest.mark.parametrize("redactor", ["a stranger", "a moderator", "a user of the author's server"])
def test_clients_are_shown_a_redaction_only_if_it_redacts(server: SyncServer, redactor: str) -> None:
    """Room version 3, "Handling redactions": the auth rules let anybody send one, and clients believe it."""
    who = ALICE if redactor == "a user of the author's server" else "@bob:hs2"
    room = server.create()
    server.join(room, "@bob:hs2")
    if redactor == "a moderator":
        levels = {"users": {"@bob:hs2": 50}}
        server.send(room, ALICE, "m.room.power_levels", state_key="", content=levels)
    client = Client(server)
    client.sync()
    said = server.say(room, ALICE, "precious")
    redaction = server.send(room, who, "m.room.redaction", content={"redacts": said}, redacts=said)
    later = server.say(room, ALICE, "later")
    shown = [said, later] if redactor == "a stranger" else [said, redaction.event_id, later]
    assert timeline_ids(joined(client.sync(), room)) == shown
    assert timeline_ids(joined(Client(server).sync(), room))[-len(shown) :] == shown
    told = [event["event_id"] for event in client.messages(room)["chunk"]]
    assert told[: len(shown)] == shown[::-1]
    server.restart()
    assert timeline_ids(joined(Client(server).sync(), room))[-len(shown) :] == shown


@pytest.mark.parametrize("known", [True, False])
def test_a_redaction_of_what_is_not_here_is_not_shown(server: SyncServer, known: bool) -> None:
    room = server.create()
    target = server.say(room, ALICE) if known else EventID("$elsewhere")
    redaction = server.send(room, ALICE, "m.room.redaction", content={"redacts": target}, redacts=target)
    shown = timeline_ids(joined(Client(server).sync(), room))
    assert (redaction.event_id in shown) == known


def test_unread_counts_are_zero(server: SyncServer) -> None:
    room = server.create()
    entry = joined(Client(server).sync(), room)
    assert entry["unread_notifications"] == {"highlight_count": 0, "notification_count": 0}
