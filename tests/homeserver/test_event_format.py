"""Client events: what of an event clients see, and what of `unsigned` is for whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.ids import UserID
from minihs.homeserver.history.event_format import Entry, Reader, client_event, only_fields
from tests.support.sync_service import Client, SyncServer, joined

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def seen(server: SyncServer, room: str, user: str = ALICE, device: str = "PHONE") -> dict[str, Any]:
    """The last event of the room as a user's device sees it."""
    return joined(Client(server, user, device).sync(), room)["timeline"]["events"][-1]


def test_only_what_the_client_format_has_is_shown(server: SyncServer) -> None:
    room = server.create()
    server.say(room, ALICE, "hello")
    event = seen(server, room)
    assert event.keys() == {"type", "sender", "content", "event_id", "origin_server_ts", "unsigned"}


def test_age_is_the_time_since_it_was_sent(server: SyncServer) -> None:
    room = server.create()
    server.say(room, ALICE)
    server.clock.advance(2.5)
    assert seen(server, room)["unsigned"]["age"] == 2_500


def test_the_transaction_id_is_for_the_device_that_sent_the_event(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.send(room, ALICE, device_id="PHONE", txn_id="t1")
    assert seen(server, room)["unsigned"]["transaction_id"] == "t1"
    assert "transaction_id" not in seen(server, room, device="LAPTOP")["unsigned"]
    assert "transaction_id" not in seen(server, room, BOB)["unsigned"]


def test_the_delay_id_is_for_the_sender_on_every_device(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.send(room, ALICE, delay_id="d1")
    for device in ("PHONE", "LAPTOP"):
        unsigned = seen(server, room, device=device)["unsigned"]
        assert (unsigned["delay_id"], unsigned["org.matrix.msc4140.delay_id"]) == ("d1", "d1")
    assert "delay_id" not in seen(server, room, BOB)["unsigned"]


def test_a_state_event_says_what_it_replaced(server: SyncServer) -> None:
    room = server.create()
    first = server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "a"})
    assert "replaces_state" not in seen(server, room)["unsigned"]
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "b"})
    unsigned = seen(server, room)["unsigned"]
    assert (unsigned["prev_content"], unsigned["replaces_state"]) == ({"topic": "a"}, first.event_id)


def test_prev_content_of_a_redacted_event_is_redacted(server: SyncServer) -> None:
    room = server.create()
    first = server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "a"}).event_id
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "b"})
    server.send(room, ALICE, "m.room.redaction", content={"redacts": first}, redacts=first)
    events = joined(Client(server).sync(), room)["timeline"]["events"]
    assert events[-2]["unsigned"]["prev_content"] == {}


@pytest.mark.parametrize("version", ["10", "11"])
def test_clients_of_either_age_find_what_a_redaction_redacts(server: SyncServer, version: str) -> None:
    room = server.create(version=version)
    said = server.say(room, ALICE)
    content = {"redacts": said} if version == "11" else {}
    server.send(room, ALICE, "m.room.redaction", content=content, redacts=said)
    event = seen(server, room)
    assert (event["redacts"], event["content"]["redacts"]) == (said, said)


def test_what_is_rendered_shares_nothing_that_a_second_rendering_could_miss(server: SyncServer) -> None:
    room = server.create(version="10")
    said = server.say(room, ALICE)
    event = server.send(room, ALICE, "m.room.redaction", content={}, redacts=said)
    client_event(event, 0, with_room_id=True)
    assert event.content == {}


def test_membership_is_left_out_where_it_is_not_known(server: SyncServer) -> None:
    room = server.create()
    row = server.run(server.service.events.maybe_row(server.say(room, ALICE)))
    reader = Reader(UserID(ALICE), None)
    rendered = server.run(server.syncs.event_format.render_one(Entry(row, row.position), reader))
    assert "membership" not in rendered["unsigned"]


NAMES = st.sampled_from(["content", "body", "unsigned", "age", "type", "x", "m.relates_to"])
EVENT = {
    "type": "m.x",
    "event_id": "$e",
    "content": {"body": "b", "x": {"age": 1}, "m.relates_to": [1]},
    "unsigned": {"age": 5},
}


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=5))
def test_chosen_fields_are_a_part_of_the_event(paths: list[tuple[str, ...]]) -> None:
    before = repr(EVENT)
    kept = only_fields(EVENT, paths)
    assert is_part(kept, EVENT)
    assert repr(EVENT) == before
    for path in paths:
        source, target = at(EVENT, path), at(kept, path)
        assert target == source


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(part[name], whole[name]) for name in part)
    return bool(part == whole)


def at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value
