"""Parsing PDUs: the shape of events, their limits, and that hostile input gets a verdict."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.event import Event, EventTooLarge, InvalidEvent, parse_event, trusted_event
from minihs.events.versions import ROOM_VERSIONS
from tests.support.events import RoomBuilder

V12 = ROOM_VERSIONS["12"]
MISSING = object()


def a_pdu(version: str = "12") -> dict[str, Any]:
    room = RoomBuilder.create("@alice:hs1", version=version)
    return dict(room.message("@alice:hs1").pdu)


def a_create(version: str = "12") -> dict[str, Any]:
    return dict(RoomBuilder.create("@alice:hs1", version=version).timeline[0].pdu)


def altered(pdu: dict[str, Any], field: str, value: object) -> dict[str, Any]:
    pdu = {**pdu, field: value}
    if value is MISSING:
        del pdu[field]
    return pdu


ACCEPTED = [
    ("type", ""),
    ("type", "x" * 255),
    ("type", "é" * 127),
    ("state_key", ""),
    ("state_key", "x" * 255),
    ("sender", "@:hs1"),
    ("sender", "@Ünïcode user:[::1]:8448"),
    ("content", {}),
    ("depth", 0),
    ("depth", 2**53 - 1),
    ("origin_server_ts", -1),
    ("origin_server_ts", 2**53 - 1),
    ("prev_events", []),
    ("prev_events", ["$x"] * 20),
    ("auth_events", ["$x"] * 10),
    ("hashes", {"sha256": "", "md5": 1}),
    ("signatures", {}),
    ("signatures", {"hs1": {}}),
    ("org.example.unknown", [None, {"a": 1}]),
    ("redacts", 7),
]

REFUSED = [
    ("type", MISSING, "type must be a string"),
    ("type", 7, "type must be a string"),
    ("type", "x" * 256, "type has more than 255 bytes"),
    ("type", "é" * 128, "type has more than 255 bytes"),
    ("state_key", None, "state_key must be a string"),
    ("state_key", 1, "state_key must be a string"),
    ("state_key", "x" * 256, "state_key has more than 255 bytes"),
    ("sender", MISSING, "a user ID"),
    ("sender", "alice", "a user ID"),
    ("sender", "@a:" + "x" * 253, "a user ID must not exceed 255 bytes"),
    ("room_id", MISSING, "a room ID"),
    ("room_id", "!short", "a room ID"),
    ("room_id", None, "a room ID"),
    ("content", MISSING, "content must be an object"),
    ("content", [], "content must be an object"),
    ("content", {"n": 1.0}, r"content\.n is a number with a fraction"),
    ("content", {"n": 2**53}, r"content\.n is outside the range"),
    ("depth", MISSING, "depth must be an integer from 0 to 9007199254740991"),
    ("depth", -1, "depth must be an integer"),
    ("depth", True, "depth must be an integer"),
    ("depth", "1", "depth must be an integer"),
    ("depth", 2**53, "depth is outside the range"),
    ("origin_server_ts", MISSING, "origin_server_ts must be an integer"),
    ("origin_server_ts", False, "origin_server_ts must be an integer"),
    ("origin_server_ts", None, "origin_server_ts must be an integer"),
    ("prev_events", MISSING, "prev_events and auth_events must be lists"),
    ("prev_events", {}, "prev_events and auth_events must be lists"),
    ("prev_events", ["$x"] * 21, "prev_events has more than 20"),
    ("prev_events", [["$x", {}]], "an event ID"),
    ("prev_events", ["x"], "an event ID"),
    ("auth_events", ["$x"] * 11, "auth_events has more than 10"),
    ("auth_events", [None], "an event ID"),
    ("hashes", MISSING, "hashes must be"),
    ("hashes", {}, "hashes must be"),
    ("hashes", {"sha256": 1}, "hashes must be"),
    ("hashes", "x", "hashes must be"),
    ("signatures", MISSING, "signatures must be"),
    ("signatures", [], "signatures must be"),
    ("signatures", {"hs1": "x"}, "signatures must be"),
    ("signatures", {"hs1": {"ed25519:1": None}}, "signatures must be"),
]


@pytest.mark.parametrize(("field", "value"), ACCEPTED)
def test_a_field_within_its_limits_is_accepted(field: str, value: object) -> None:
    event = parse_event(altered(a_pdu(), field, value), V12)
    assert event.pdu[field] == value


@pytest.mark.parametrize(("field", "value", "fault"), REFUSED)
def test_a_field_outside_its_limits_is_refused(field: str, value: object, fault: str) -> None:
    with pytest.raises(InvalidEvent, match=fault):
        parse_event(altered(a_pdu(), field, value), V12)


@pytest.mark.parametrize("value", [None, [], "", 1, True, 1.5, [{}]])
def test_what_is_no_object_is_no_event(value: object) -> None:
    with pytest.raises(InvalidEvent, match="must be a JSON object"):
        parse_event(value, V12)


def test_an_event_says_what_its_pdu_says() -> None:
    room = RoomBuilder.create("@alice:hs1")
    join = room.timeline[1]
    parsed = parse_event({**join.pdu, "unsigned": {"age": 1.5}}, V12)
    assert parsed == join
    assert hash(parsed) == hash(join)
    assert "unsigned" not in parsed.pdu
    assert parsed.is_state
    assert parsed.key == ("m.room.member", "@alice:hs1")
    assert parsed.membership == "join"
    assert (parsed.depth, parsed.prev_events) == (2, (room.timeline[0].event_id,))
    assert msgspec.json.decode(parsed.to_json_bytes()) == join.pdu
    assert trusted_event(msgspec.json.decode(parsed.to_json_bytes()), V12, parsed.event_id) == parsed


def test_a_message_has_no_place_in_the_state_and_no_membership() -> None:
    event = parse_event(a_pdu(), V12)
    assert not event.is_state
    assert event.membership is None
    with pytest.raises(TypeError):
        _ = event.key


def test_a_membership_that_is_no_string_is_none() -> None:
    pdu = {**a_pdu(), "type": "m.room.member", "content": {"membership": ["join"]}}
    assert parse_event(pdu, V12).membership is None


def test_events_do_not_change() -> None:
    event: Any = parse_event(a_pdu(), V12)
    with pytest.raises(AttributeError):
        event.depth = 7


def test_events_are_equal_by_id_and_pdu() -> None:
    pdu = a_pdu()
    event, same, changed = (parse_event(value, V12) for value in (pdu, {**pdu}, {**pdu, "content": {}}))
    later = parse_event({**pdu, "depth": 99}, V12)
    assert event.event_id == changed.event_id
    for equal, pair in (
        (True, (event, same)),
        (False, (event, changed)),
        (False, (event, later)),
        (False, (event, pdu)),
        (False, (event, None)),
    ):
        assert (pair[0] == pair[1]) is equal
        assert (pair[0] != pair[1]) is not equal


def test_an_event_has_at_most_65536_bytes_with_signatures_and_without_unsigned() -> None:
    pdu = a_pdu()
    base = len(msgspec.json.encode({**pdu, "content": {"body": ""}}))
    exact = {**pdu, "content": {"body": "x" * (65_536 - base)}, "unsigned": {"x": "x" * 999}}
    assert parse_event(exact, V12).pdu["content"] == exact["content"]
    with pytest.raises(EventTooLarge, match="65537 bytes"):
        parse_event({**exact, "content": {"body": "x" * (65_537 - base)}}, V12)


def test_the_size_is_that_of_the_canonical_encoding() -> None:
    """Escapes and other scripts count as the bytes they take there."""
    pdu = a_pdu()
    base = len(msgspec.json.encode({**pdu, "content": {"body": ""}}))
    fits, left = divmod(65_536 - base, len("é".encode() + b"\\u0001"))
    body = "é\x01" * fits + "x" * left
    assert parse_event({**pdu, "content": {"body": body}}, V12).content == {"body": body}
    with pytest.raises(EventTooLarge):
        parse_event({**pdu, "content": {"body": body + "x"}}, V12)


def test_numbers_are_loose_until_v5_and_strict_since_v6() -> None:
    for field, value in (
        ("content", {"n": 1.5}),
        ("content", {"n": 2**60}),
        ("depth", 2**63 - 1),
        ("origin_server_ts", -(2**62)),
    ):
        assert parse_event(altered(a_pdu("5"), field, value), ROOM_VERSIONS["5"]).pdu[field] == value
        with pytest.raises(InvalidEvent):
            parse_event(altered(a_pdu("6"), field, value), ROOM_VERSIONS["6"])


@pytest.mark.parametrize("timestamp", [2**63 - 1, -(2**63) + 1])
def test_a_timestamp_of_loose_versions_may_fill_what_the_store_holds(timestamp: int) -> None:
    pdu = altered(a_pdu("5"), "origin_server_ts", timestamp)
    assert parse_event(pdu, ROOM_VERSIONS["5"]).origin_server_ts == timestamp


@pytest.mark.parametrize(("field", "value"), [("depth", 2**63), ("origin_server_ts", 2**63), ("depth", 1.0)])
def test_even_loose_versions_bound_what_the_store_must_hold(field: str, value: object) -> None:
    with pytest.raises(InvalidEvent, match=field):
        parse_event(altered(a_pdu("5"), field, value), ROOM_VERSIONS["5"])


def test_the_create_event_has_no_room_id_since_v12_and_needs_one_before() -> None:
    create = parse_event(a_create("12"), V12)
    assert "room_id" not in create.pdu
    assert create.room_id == "!" + create.event_id[1:]
    old = a_create("11")
    assert parse_event(old, ROOM_VERSIONS["11"]).room_id == "!room:hs1"
    with pytest.raises(InvalidEvent, match="a room ID"):
        parse_event(altered(old, "room_id", MISSING), ROOM_VERSIONS["11"])


def test_what_is_redacted_stands_beside_the_content_until_v10_and_in_it_since_v11() -> None:
    for version, outside, inside in (("10", "$o", None), ("11", None, "$i")):
        pdu = {**a_pdu(version), "type": "m.room.redaction"}
        assert parse_event({**pdu, "redacts": "$o"}, ROOM_VERSIONS[version]).redacts == outside
        assert parse_event({**pdu, "content": {"redacts": "$i"}}, ROOM_VERSIONS[version]).redacts == inside


@pytest.mark.parametrize("redacts", [None, 1, "x", ["$x"], "$" + "x" * 255])
def test_a_redaction_of_nothing_that_could_be_an_event_is_an_event_all_the_same(redacts: object) -> None:
    pdu = {**a_pdu(), "type": "m.room.redaction", "content": {"redacts": redacts}}
    assert parse_event(pdu, V12).redacts is None


def test_only_redactions_redact() -> None:
    assert parse_event({**a_pdu(), "content": {"redacts": "$x"}}, V12).redacts is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_fields = st.sampled_from(
    [
        *("type", "sender", "state_key", "room_id", "content", "depth", "origin_server_ts", "hashes"),
        *("prev_events", "auth_events", "signatures", "redacts", "unsigned", "origin", "event_id"),
    ]
)
_types = st.sampled_from(
    ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.redaction", "m.room.join_rules", "x"]
)


@given(_json, st.sampled_from(sorted(ROOM_VERSIONS)))
def test_any_json_value_is_an_event_or_is_refused(value: object, version: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(value, ROOM_VERSIONS[version])
    str(refused.value).encode()


_pdus = {version: a_pdu(version) for version in ROOM_VERSIONS}


@given(st.data(), st.sampled_from(sorted(ROOM_VERSIONS)), _types)
def test_a_damaged_pdu_is_an_event_or_is_refused(data: st.DataObject, version: str, event_type: str) -> None:
    pdu = {**_pdus[version], "type": event_type, **data.draw(st.dictionaries(_fields, _json, max_size=3))}
    if data.draw(st.booleans()):
        pdu.pop(data.draw(_fields), None)
    try:
        event = parse_event(pdu, ROOM_VERSIONS[version])
    except InvalidEvent as refused:
        str(refused).encode()
    else:
        assert isinstance(event, Event)
        again = parse_event(msgspec.json.decode(event.to_json_bytes()), ROOM_VERSIONS[version])
        assert again.event_id == event.event_id
