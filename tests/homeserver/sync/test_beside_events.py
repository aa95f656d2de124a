"""What /sync carries beside events: typing, receipts, account data, ignored users, parts, filters, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from minihs.events.ids import EventID, UserID
from minihs.homeserver.errors import InvalidParam
from minihs.homeserver.history.event_filter import parse_filter
from tests.support.sync_service import Client, SyncServer, bodies, joined, timeline_ids

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def ephemeral(entry: Mapping[str, Any]) -> list[Any]:
    return entry.get("ephemeral", {}).get("events", [])


def typing(*users: str) -> dict[str, object]:
    return {"type": "m.typing", "content": {"user_ids": list(users)}}


def test_typing_is_told_when_it_begins_and_when_it_ends(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    client = Client(server)
    client.sync()
    server.run(server.syncs.typing.set(UserID(BOB), room, 10_000))
    assert ephemeral(joined(client.sync(), room)) == [typing(BOB)]
    assert joined(client.sync(), room) == {}
    server.clock.advance(10)
    assert ephemeral(joined(client.sync(), room)) == [typing()]


def test_a_first_sync_has_those_who_are_typing(server: SyncServer) -> None:
    room = server.create()
    assert ephemeral(joined(Client(server).sync(), room)) == []
    server.run(server.syncs.typing.set(UserID(ALICE), room, 10_000))
    assert ephemeral(joined(Client(server).sync(), room)) == [typing(ALICE)]


def test_a_token_from_before_a_restart_clears_who_was_typing(server: SyncServer) -> None:
    room = server.create()
    server.run(server.syncs.typing.set(UserID(ALICE), room, 10_000))
    client = Client(server)
    client.sync()
    server.clock.advance(1)
    server.restart()
    assert ephemeral(joined(client.sync(), room)) == [typing()]
    assert joined(client.sync(), room) == {}


def test_receipts_are_told_and_private_ones_only_to_their_user(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    alice, bob = Client(server), Client(server, BOB)
    alice.sync(), bob.sync()
    said = EventID(server.say(room, ALICE))
    server.run(server.syncs.receipts.read_up_to(UserID(BOB), room, "m.read.private", said))
    server.run(server.syncs.receipts.read_up_to(UserID(BOB), room, "m.read", said))
    now = server.clock.wall_ms()
    assert ephemeral(joined(alice.sync(), room)) == [
        {"type": "m.receipt", "content": {said: {"m.read": {BOB: {"ts": now}}}}}
    ]
    (event,) = ephemeral(joined(bob.sync(), room))
    assert event["content"][said].keys() == {"m.read", "m.read.private"}
    assert joined(alice.sync(), room) == {}


def test_first_syncs_and_new_rooms_have_all_receipts(server: SyncServer) -> None:
    room = server.create()
    bob = Client(server, BOB)
    bob.sync()
    said = EventID(server.say(room, ALICE))
    server.run(server.syncs.receipts.read_up_to(UserID(ALICE), room, "m.read", said))
    assert ephemeral(joined(Client(server).sync(), room))[0]["type"] == "m.receipt"
    server.join(room, BOB)
    assert said in ephemeral(joined(bob.sync(), room))[0]["content"]


def test_receipts_from_before_a_restart_are_not_lost(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    said = EventID(server.say(room, ALICE))
    server.run(server.syncs.receipts.read_up_to(UserID(ALICE), room, "m.read", said))
    server.restart()
    events = ephemeral(joined(client.sync(), room))
    assert said in next(event for event in events if event["type"] == "m.receipt")["content"]


def test_the_ephemeral_filter_applies(server: SyncServer) -> None:
    room = server.create()
    server.run(server.syncs.typing.set(UserID(ALICE), room, 10_000))
    some = Client(server, filter={"room": {"ephemeral": {"types": ["m.receipt"]}}})
    assert ephemeral(joined(some.sync(), room)) == []
    none = Client(server, filter={"room": {"ephemeral": {"not_rooms": [room]}}})
    assert ephemeral(joined(none.sync(), room)) == []


def test_account_data_is_told_globally_and_by_room(server: SyncServer) -> None:
    room = server.create()
    server.set_account_data(ALICE, "m.direct", {"a": 1})
    client = Client(server)
    assert client.sync()["account_data"]["events"] == [{"type": "m.direct", "content": {"a": 1}}]
    server.set_account_data(ALICE, "m.tag", {"tags": {}}, room)
    server.set_account_data(BOB, "m.direct", {"b": 1})
    reply = client.sync()
    assert "account_data" not in reply
    assert joined(reply, room)["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    assert "rooms" not in client.sync()


def test_account_data_wakes_its_user(server: SyncServer) -> None:
    client = Client(server)
    client.sync()
    waiting = client.start_sync()
    server.set_account_data(ALICE, "m.direct", {})
    server.clock.advance(0)
    assert waiting.called


def test_a_new_room_comes_with_what_was_set_for_it_before(server: SyncServer) -> None:
    room = server.create()
    server.set_account_data(BOB, "m.tag", {"tags": {}}, room)
    bob = Client(server, BOB)
    assert "rooms" not in bob.sync()
    server.join(room, BOB)
    assert joined(bob.sync(), room)["account_data"]["events"][0]["type"] == "m.tag"


def test_account_data_filters_apply(server: SyncServer) -> None:
    room = server.create()
    server.set_account_data(ALICE, "m.direct", {})
    server.set_account_data(ALICE, "m.tag", {}, room)
    filter_ = {"account_data": {"not_types": ["m.*"]}, "room": {"account_data": {"types": ["org.*"]}}}
    reply = Client(server, filter=filter_).sync()
    assert "account_data" not in reply
    assert "account_data" not in joined(reply, room)


def test_messages_of_ignored_users_are_left_out_and_their_state_is_not(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    client = Client(server)
    client.sync()
    server.set_account_data(ALICE, "m.ignored_user_list", {"ignored_users": {BOB: {}}})
    server.say(room, BOB, "ignored")
    kept = server.send(
        room, BOB, "m.room.member", state_key=BOB, content={"membership": "join", "displayname": "B"}
    ).event_id
    assert timeline_ids(joined(client.sync(), room)) == [kept]
    server.set_account_data(ALICE, "m.ignored_user_list", {"ignored_users": {}})
    server.say(room, BOB, "heard")
    assert bodies(joined(client.sync(), room)) == ["heard"]


def test_invites_of_ignored_users_are_left_out(server: SyncServer) -> None:
    server.set_account_data(BOB, "m.ignored_user_list", {"ignored_users": {ALICE: {}}})
    room = server.create()
    server.join(room, BOB, "invite", by=ALICE)
    assert "rooms" not in Client(server, BOB).sync()


class Counter:
    """A part that reports how its stream moved."""

    stream = "c"

    def __init__(self, at_once: int = 1_000) -> None:
        self.at = 5
        self.at_once = at_once

    def position(self) -> int:
        return self.at

    async def keys(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        if after == upto or filter_keys.get("org.counter") is False:
            return {}, upto
        upto = min(upto, (after or 0) + self.at_once)
        return {"org.counter": {"after": after, "upto": upto}}, upto


def test_a_part_adds_its_keys_and_its_stream() -> None:
    part = Counter()
    server = SyncServer(parts=[part])
    client = Client(server)
    assert client.sync()["org.counter"] == {"after": None, "upto": 5}
    assert "org.counter" not in client.sync()
    waiting = client.start_sync()
    part.at = 7
    server.syncs.notifier.wake([UserID(ALICE)])
    server.clock.advance(0)
    assert waiting.called
    assert client.sync()["org.counter"] == {"after": 5, "upto": 7}


def test_what_a_part_leaves_out_comes_with_the_next_reply() -> None:
    client = Client(SyncServer(parts=[Counter(at_once=3)]))
    assert client.sync()["org.counter"] == {"after": None, "upto": 3}
    assert client.sync()["org.counter"] == {"after": 3, "upto": 5}
    assert "org.counter" not in client.sync()


def test_a_token_from_before_a_part_existed_starts_it_at_zero() -> None:
    client = Client(SyncServer())
    client.sync()
    later = Client(SyncServer(parts=[Counter()]), token=client.token)
    assert later.sync()["org.counter"] == {"after": 0, "upto": 5}


def test_a_token_of_a_part_that_is_gone_keeps_its_place() -> None:
    part = Counter()
    with_part = Client(SyncServer(parts=[part]))
    with_part.sync()
    without = Client(SyncServer(), token=with_part.token)
    without.sync()
    again = Client(SyncServer(parts=[part]), token=without.token)
    assert "org.counter" not in again.sync()


def test_a_part_sees_the_filters_key_of_its_own() -> None:
    client = Client(SyncServer(parts=[Counter()]), filter={"org.counter": False})
    assert "org.counter" not in client.sync()


def test_a_token_ahead_of_the_database_hides_nothing_that_comes(server: SyncServer) -> None:
    room = server.create()
    client = Client(server, token="e900")
    client.sync()
    said = server.say(room, ALICE)
    assert timeline_ids(joined(client.sync(), room)) == [said]


def test_event_fields_leave_out_the_others(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    server.say(room, ALICE, "one")
    (event,) = joined(client.sync(filter={"event_fields": ["content.body"]}), room)["timeline"]["events"]
    assert event.keys() == {"content", "type", "event_id"}
    assert event["content"] == {"body": "one"}


def test_the_federation_format_has_the_raw_event(server: SyncServer) -> None:
    room = server.create()
    reply = Client(server, filter={"event_format": "federation"}).sync()
    assert {"hashes", "auth_events", "room_id"} <= joined(reply, room)["timeline"]["events"][0].keys()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ('{"room": 1}', "room"),
        ('{"room": {"timeline": {"limit": -1}}}', "negative"),
        ('{"room": {"timeline": {"limit": "x"}}}', "limit"),
        ('{"room": {"timeline": {"types": "m.room.message"}}}', "types"),
        ('{"event_format": "yaml"}', "event_format"),
        ('{"event_fields": [1]}', "event_fields"),
        ('{"room": {"rooms": [{}]}}', "rooms"),
        ("x" * 70_000, "longer"),
        ("[" * 5_000, "cannot be used"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidParam, match=fault):
        parse_filter(text)
