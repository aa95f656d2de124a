"""`PUT …/send/…`, `PUT …/redact/…`: messages, transaction IDs, redactions, and what belongs to a dialect."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import EventID
from minihs.events.versions import ROOM_VERSIONS
from tests.support.rooms_world import RoomsWorld, at, refused

ALICE, BOB, EVE = "@alice:hs1", "@bob:hs1", "@eve:hs1"
TEXT = {"msgtype": "m.text", "body": "hello"}


def send(world: RoomsWorld, room_id: str, user: str = ALICE, txn: str = "1", content: Any = TEXT) -> str:
    return str(world.ok("PUT", at(room_id, "send", "m.room.message", txn), user, content)["event_id"])


def test_a_message_is_sent_and_its_row_remembers_device_and_transaction() -> None:
    world = RoomsWorld()
    room_id = world.make()
    event_id = send(world, room_id, txn="a/b")
    row = world.run(world.rooms.row(EventID(event_id)))
    assert (row.event.type, row.event.content, row.event.state_key) == ("m.room.message", TEXT, None)
    assert (row.device_id, row.txn_id) == ("DEVICE", "a/b")


def test_a_repeated_transaction_gets_the_same_event_and_another_gets_its_own() -> None:
    world = RoomsWorld()
    room_id, other = world.make(), world.make()
    first = send(world, room_id, txn="1")
    assert send(world, room_id, txn="1", content={"body": "changed"}) == first
    different = [
        send(world, room_id, txn="2"),
        send(world, other, txn="1"),
        world.ok("PUT", at(room_id, "send", "m.sticker", "1"), ALICE, TEXT)["event_id"],
    ]
    assert len({first, *different}) == 4


def test_a_transaction_that_comes_again_while_the_first_is_under_way_is_one_event() -> None:
    world = RoomsWorld()
    room_id = world.make()
    path = "/_matrix/client/v3" + at(room_id, "send", "m.room.message", "1")
    waiting = [world.driver.start("PUT", path, json=TEXT, token=ALICE) for _ in range(3)]
    replies = [world.driver.finish(connection) for connection in waiting]
    assert len({reply.body for reply in replies}) == 1
    assert replies[0].status == 200


def test_a_failed_transaction_is_tried_anew() -> None:
    world = RoomsWorld()
    room_id = world.make(invite=[BOB])
    path = at(room_id, "send", "m.room.message", "1")
    assert refused(world.call("PUT", path, BOB, TEXT)) == (403, "M_FORBIDDEN")
    world.ok("POST", at(room_id, "join"), BOB)
    assert world.call("PUT", path, BOB, TEXT).status == 200


@pytest.mark.parametrize(
    ("status", "errcode", "body"),
    [
        (400, "M_NOT_JSON", b""),
        (400, "M_NOT_JSON", b"{"),
        (400, "M_NOT_JSON", b'{"a": Infinity}'),
        (400, "M_NOT_JSON", b'{"a": "\xff"}'),
        (400, "M_BAD_JSON", b"[]"),
        (400, "M_BAD_JSON", b'"text"'),
        (400, "M_BAD_JSON", b'{"a": 1.5}'),
        (400, "M_BAD_JSON", b'{"a": 9007199254740992}'),
        (400, "M_BAD_JSON", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"),
        (413, "M_TOO_LARGE", b'{"a": "' + b"x" * 65_536 + b'"}'),
        (413, "M_TOO_LARGE", b'{"a": "' + b"x" * (1 << 20) + b'"}'),
    ],
)
def test_content_that_can_be_no_event_is_refused(status: int, errcode: str, body: bytes) -> None:
    world = RoomsWorld()
    room_id = world.make()
    committed = len(world.observer.committed)
    path = at(room_id, "send", "m.room.message", "1")
    assert refused(world.call("PUT", path, ALICE, body=body)) == (status, errcode)
    assert len(world.observer.committed) == committed
    assert world.call("PUT", path, ALICE, body=b'{"a": 9007199254740991}').status == 200


def test_where_one_is_not_a_member_nothing_can_be_sent() -> None:
    world = RoomsWorld()
    room_id = world.make()
    for name in (room_id, "!unknown:hs1", "nonsense"):
        for action in ("send/m.x/1", "state/m.x", "state/m.x/", "state/m.x/key"):
            path = f"{at(name)}/{action}"
            assert refused(world.call("PUT", path, EVE, {})) == (403, "M_FORBIDDEN")
    assert refused(world.call("PUT", at(room_id, "send", "m.x", "1"), None, {})) == (401, "M_MISSING_TOKEN")
    assert refused(world.call("PUT", at(room_id, "send", "m" * 256, "1"), ALICE, {})) == (413, "M_TOO_LARGE")
    assert world.call("PUT", at(room_id, "send", "m" * 255, "1"), ALICE, {}).status == 200


def test_guests_may_send() -> None:
    world = RoomsWorld()
    room_id = world.make(invite=["@guest:hs1"])
    world.ok("POST", at(room_id, "join"), "@guest:hs1")
    send(world, room_id, "@guest:hs1")


def test_what_a_dialect_claims_is_answered_by_it_and_not_sent() -> None:
    world = RoomsWorld()
    room_id = world.make()
    committed = len(world.observer.committed)
    for path in ("send/m.x/1", "state/m.x", "state/m.x/", "state/m.x/key"):
        assert world.ok("PUT", f"{at(room_id)}/{path}?future=1", ALICE, {"a": 1}) == {"claimed": True}
    assert len(world.observer.committed) == committed
    claims = [(each.room_id, each.type, each.state_key, each.txn_id, each.content) for each in world.claimed]
    assert claims == [
        (room_id, "m.x", None, "1", {"a": 1}),
        (room_id, "m.x", "", None, {"a": 1}),
        (room_id, "m.x", "", None, {"a": 1}),
        (room_id, "m.x", "key", None, {"a": 1}),
    ]


def test_too_many_messages_are_refused_for_a_while() -> None:
    world = RoomsWorld(rate_limits=True)
    room_id = world.make()
    statuses = [
        world.call("PUT", at(room_id, "send", "m.x", str(number)), ALICE, {}).status for number in range(260)
    ]
    assert 429 in statuses
    assert statuses[0] == 200


# Redactions

BY_REDACT, BY_SEND = "redact", "send"


def redact(world: RoomsWorld, way: str, room_id: str, user: str, event_id: str, txn: str) -> Any:
    if way == BY_REDACT:
        return world.call("PUT", at(room_id, "redact", event_id, txn), user, {"reason": "regret"})
    content = {"redacts": event_id, "reason": "regret"}
    return world.call("PUT", at(room_id, "send", "m.room.redaction", txn), user, content)


@pytest.mark.parametrize("way", [BY_REDACT, BY_SEND])
@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_redaction_names_its_event_where_the_version_wants_it(way: str, version: str) -> None:
    world = RoomsWorld()
    room_id = world.make(room_version=version)
    event_id = send(world, room_id)
    redaction_id = redact(world, way, room_id, ALICE, event_id, "2").json["event_id"]
    pdu = world.run(world.rooms.row(EventID(redaction_id))).event.pdu
    if not ROOM_VERSIONS[version].redacts_in_content:
        assert (pdu["redacts"], pdu["content"]) == (event_id, {"reason": "regret"})
    else:
        assert "redacts" not in pdu
        assert pdu["content"] == {"redacts": event_id, "reason": "regret"}
    assert world.run(world.rooms.row(EventID(event_id))).event.content == {}
    assert redact(world, way, room_id, ALICE, event_id, "2").json["event_id"] == redaction_id


@pytest.mark.parametrize("way", [BY_REDACT, BY_SEND])
def test_other_peoples_events_are_redacted_by_those_with_the_power(way: str) -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    world.ok("POST", at(room_id, "join"), BOB)
    by_alice, by_bob = send(world, room_id, ALICE), send(world, room_id, BOB)
    response = redact(world, way, room_id, BOB, by_alice, "2")
    assert refused(response) == (403, "M_FORBIDDEN")
    assert redact(world, way, room_id, BOB, by_bob, "3").status == 200
    assert redact(world, way, room_id, ALICE, by_alice, "4").status == 200


@pytest.mark.parametrize("way", [BY_REDACT, BY_SEND])
def test_nobody_shuts_out_every_server_by_redacting_an_access_control_list(way: str) -> None:
    world = RoomsWorld()
    room_id = world.make()
    statuses = []
    for number, event_type in enumerate(("m.room.server_acl", "m.room.topic")):
        sent = world.call("PUT", at(room_id, "state", event_type), ALICE, {"allow": ["*"], "topic": "x"})
        statuses.append(redact(world, way, room_id, ALICE, sent.json["event_id"], str(number)))
    assert refused(statuses[0]) == (403, "M_FORBIDDEN")
    assert "Send another list" in statuses[0].json["error"]
    assert statuses[1].status == 200


@pytest.mark.parametrize("way", [BY_REDACT, BY_SEND])
def test_what_is_not_in_the_room_cannot_be_redacted(way: str) -> None:
    world = RoomsWorld()
    room_id, other = world.make(), world.make()
    elsewhere = send(world, other)
    for event_id in ("$unknown", elsewhere):
        assert refused(redact(world, way, room_id, ALICE, event_id, "2")) == (404, "M_NOT_FOUND")
    assert refused(redact(world, way, "!unknown:hs1", ALICE, elsewhere, "2"))[0] in (403, 404)


@pytest.mark.parametrize("content", [{}, {"redacts": 1}, {"redacts": "text"}])
def test_a_redaction_of_nothing_is_bad_content(content: dict[str, Any]) -> None:
    world = RoomsWorld()
    path = at(world.make(), "send", "m.room.redaction", "1")
    assert refused(world.call("PUT", path, ALICE, content)) == (400, "M_BAD_JSON")


def test_a_suspended_account_redacts_its_own_events_only() -> None:
    world = RoomsWorld()
    suspended = "@suspended:hs1"
    room_id = world.make(preset="public_chat")
    world.run(world.membership.join(suspended, room_id))  # type: ignore[arg-type]
    theirs = world.send(room_id, suspended).event_id  # type: ignore[arg-type]
    others = send(world, room_id, ALICE)
    assert refused(redact(world, BY_REDACT, room_id, suspended, others, "1")) == (403, "M_USER_SUSPENDED")
    assert redact(world, BY_REDACT, room_id, suspended, theirs, "2").status == 200
