"""Making events: what comes out is what a stranger would accept, and what cannot be sent is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.build import build_event
from minihs.events.event import Event, EventTooLarge, InvalidEvent, parse_event
from minihs.events.hashes import content_hash_matches
from minihs.events.ids import EventID, RoomID, UserID
from minihs.events.limits import MAX_DEPTH, MAX_PDU_BYTES
from minihs.events.signatures import verify_pdu
from minihs.events.versions import ROOM_VERSIONS
from tests.support.events import signer_of, verify_keys_of

ROOM = RoomID("!room:hs1")


def build(version: str = "12", **fields: Any) -> Event:
    defaults: dict[str, Any] = {
        "room_id": ROOM,
        "type": "m.room.message",
        "sender": UserID("@alice:hs1"),
        "content": {"body": "hello"},
        "state_key": None,
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
    }
    return build_event(version=ROOM_VERSIONS[version], signer=signer_of("hs1"), **{**defaults, **fields})


contents = st.dictionaries(
    st.text(max_size=6),
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=6),
    max_size=4,
)


@given(
    st.sampled_from(sorted(ROOM_VERSIONS)),
    st.sampled_from(["m.room.message", "m.room.member", "m.room.redaction", "m.room.create", "x"]),
    contents,
    st.none() | st.text(max_size=6),
    st.none() | st.just(EventID("$other")),
)
def test_what_is_built_parses_as_itself_and_verifies(
    version: str, event_type: str, content: dict[str, Any], state_key: str | None, redacts: EventID | None
) -> None:
    if event_type != "m.room.redaction":
        redacts = None
    content.pop("redacts", None)
    event = build(version, type=event_type, content=content, state_key=state_key, redacts=redacts)
    parsed = parse_event(dict(event.pdu), event.version)
    assert parsed == event
    assert (parsed.redacts, parsed.state_key, parsed.room_id) == (redacts, state_key, ROOM)
    assert content_hash_matches(event.pdu)
    verify_pdu(event.pdu, event.version, "hs1", verify_keys_of("hs1"))


def test_the_same_event_gets_the_same_id_and_signature() -> None:
    assert build() == build()
    assert build() != build(depth=2)


def test_redacts_goes_where_the_version_keeps_it() -> None:
    content = {"reason": "spam"}
    old = build("10", type="m.room.redaction", content=content, redacts=EventID("$x"))
    new = build("11", type="m.room.redaction", content=content, redacts=EventID("$x"))
    assert (old.pdu["redacts"], old.content) == ("$x", {"reason": "spam"})
    assert ("redacts" in new.pdu, new.content) == (False, {"reason": "spam", "redacts": "$x"})
    assert content == {"reason": "spam"}


def test_a_create_event_without_a_room_id_names_its_room() -> None:
    create = build(room_id=None, type="m.room.create", state_key="", content={"room_version": "12"})
    assert create.room_id == "!" + create.event_id[1:]
    assert parse_event(dict(create.pdu), create.version) == create


def test_depth_stays_at_its_limit() -> None:
    assert build(depth=MAX_DEPTH).depth == MAX_DEPTH
    assert build(depth=MAX_DEPTH + 1).depth == build(depth=MAX_DEPTH + 1).pdu["depth"] == MAX_DEPTH


def test_a_built_event_fills_the_size_limit_exactly_and_no_more() -> None:
    room_left = MAX_PDU_BYTES - len(build(content={"body": ""}).to_json_bytes())
    event = build(content={"body": "x" * room_left})
    assert len(event.to_json_bytes()) == MAX_PDU_BYTES
    with pytest.raises(EventTooLarge, match="65537 bytes"):
        build(content={"body": "x" * (room_left + 1)})


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"content": {"n": 1.5}}, r"content\.n is a number with a fraction"),
        ({"content": {"n": 2**53}}, r"content\.n is outside"),
        ({"content": {"t": "\ud800"}}, r"content\.t has half of a surrogate"),
        ({"type": "\ud800"}, "type has half of a surrogate"),
        ({"state_key": "\ud800"}, "state_key has half of a surrogate"),
        ({"type": "x" * 256}, "type has more than 255 bytes"),
        ({"state_key": "é" * 128}, "state_key has more than 255 bytes"),
        ({"prev_events": [EventID("$x")] * 21}, "prev_events has more than 20"),
        ({"auth_events": [EventID("$x")] * 11}, "auth_events has more than 10"),
    ],
)
@pytest.mark.parametrize("version", ["3", "12"])
def test_what_cannot_be_sent_is_refused_in_every_version(
    version: str, fields: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidEvent, match=fault):
        build(version, **fields)


def test_what_is_built_is_nested_no_deeper_than_what_is_parsed() -> None:
    def nested(levels: int) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for _ in range(levels):
            content = {"a": content}
        return content

    deepest = build(content=nested(126))
    assert parse_event(dict(deepest.pdu), deepest.version) == deepest
    with pytest.raises(InvalidEvent, match="nested deeper"):
        build(content=nested(127))
    with pytest.raises(InvalidEvent, match="nested deeper"):
        parse_event({**deepest.pdu, "content": nested(127)}, deepest.version)
