"""Redaction: what stays in each room version, and what redaction never touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.event import Event, parse_event, redact_event
from minihs.events.hashes import event_id_of
from minihs.events.redaction import redact
from minihs.events.signatures import verify_pdu
from minihs.events.versions import ROOM_VERSIONS
from tests.support.events import RoomBuilder, verify_keys_of
from tests.vectors.generate_events import CONTENTS

SIGNED = {"signed": {"mxid": "@a:hs1", "token": "t"}}


def kept(version: str, event_type: str, content: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = redact({"type": event_type, "content": content}, ROOM_VERSIONS[version])[
        "content"
    ]
    return result


@pytest.mark.parametrize(
    ("event_type", "content", "last", "before", "after"),
    [
        ("m.room.aliases", {"aliases": ["#a:hs1"]}, "5", {"aliases": ["#a:hs1"]}, {}),
        ("m.room.join_rules", {"allow": []}, "7", {}, {"allow": []}),
        (
            "m.room.member",
            {"join_authorised_via_users_server": "@a:hs1"},
            "8",
            {},
            {"join_authorised_via_users_server": "@a:hs1"},
        ),
        ("m.room.create", {"m.federate": False}, "10", {}, {"m.federate": False}),
        ("m.room.power_levels", {"invite": 1}, "10", {}, {"invite": 1}),
        ("m.room.redaction", {"redacts": "$x"}, "10", {}, {"redacts": "$x"}),
        (
            "m.room.member",
            {"third_party_invite": {**SIGNED, "x": 1}},
            "10",
            {},
            {"third_party_invite": SIGNED},
        ),
    ],
)
def test_what_stays_changes_between_versions(
    event_type: str, content: dict[str, Any], last: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert kept(last, event_type, content) == before
    assert kept(str(int(last) + 1), event_type, content) == after


@pytest.mark.parametrize(
    ("invite", "remains"),
    [({"x": 1}, {"third_party_invite": {}}), (None, {}), ([], {}), ("signed", {})],
)
def test_a_third_party_invite_of_another_shape_keeps_no_more_than_an_object(
    invite: object, remains: dict[str, Any]
) -> None:
    assert kept("11", "m.room.member", {"third_party_invite": invite}) == remains


@pytest.mark.parametrize("key", ["origin", "membership", "prev_state"])
def test_old_keys_stay_until_v10(key: str) -> None:
    pdu = {"type": "x", "content": {}, key: "x"}
    assert key in redact(pdu, ROOM_VERSIONS["10"])
    assert key not in redact(pdu, ROOM_VERSIONS["11"])


def test_unsigned_and_unknown_keys_go() -> None:
    pdu = {"type": "x", "content": {"body": "x"}, "unsigned": {}, "org.example": 1, "redacts": "$x"}
    assert redact(pdu, ROOM_VERSIONS["12"]) == {"type": "x", "content": {}}


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_a_redacted_event_has_the_same_id_room_and_valid_signatures(version: str) -> None:
    room = RoomBuilder.create("@alice:hs1", version=version, power_levels={"users": {}})
    event = room.message("@alice:hs1", "secret")
    room.add(room.make("@alice:hs1", "m.room.redaction", {"reason": "x"}, redacts=event.event_id))
    for original in room.timeline:
        redacted = redact_event(original)
        assert redacted.event_id == original.event_id == event_id_of(redacted.pdu, original.version)
        assert redacted.room_id == original.room_id
        assert redacted.content == redacted.pdu["content"]
        verify_pdu(redacted.pdu, original.version, "hs1", verify_keys_of("hs1"))
        assert parse_event(dict(redacted.pdu), original.version) == redacted
        assert parse_event(dict(redacted.pdu), original.version).redacts == redacted.redacts
    assert redact_event(event).content == {}
    assert event.content["body"] == "secret"


def test_what_a_redaction_redacts_survives_its_own_redaction_since_v11() -> None:
    for version, survives in (("10", False), ("11", True)):
        room = RoomBuilder.create("@alice:hs1", version=version)
        redaction = room.make("@alice:hs1", "m.room.redaction", {}, redacts="$x")
        assert redaction.redacts == "$x"
        assert redact_event(redaction).redacts == ("$x" if survives else None)


contents = st.sampled_from(sorted(CONTENTS)).flatmap(
    lambda event_type: st.tuples(
        st.just(event_type),
        st.dictionaries(
            st.sampled_from(sorted({name for content in CONTENTS.values() for name in content})),
            st.none() | st.integers(-9, 9) | st.dictionaries(st.sampled_from(["signed", "x"]), st.none()),
        ),
    )
)


@given(contents, st.sampled_from(sorted(ROOM_VERSIONS)))
def test_redacting_twice_is_redacting_once(event: tuple[str, dict[str, Any]], version_id: str) -> None:
    version = ROOM_VERSIONS[version_id]
    pdu = {"type": event[0], "content": event[1], "origin": "x", "redacts": "$x"}
    once = redact(pdu, version)
    assert redact(once, version) == once


@given(contents, st.sampled_from(sorted(ROOM_VERSIONS)))
def test_an_event_id_does_not_depend_on_what_redaction_removes(
    event: tuple[str, dict[str, Any]], version_id: str
) -> None:
    version = ROOM_VERSIONS[version_id]
    pdu = {"type": event[0], "content": event[1], "sender": "@a:hs1"}
    decorated = {**redact(pdu, version), "unsigned": {"age": 1}, "signatures": {"x": {}}, "org.example": 1}
    assert event_id_of(decorated, version) == event_id_of(pdu, version)
    assert event_id_of({**pdu, "sender": "@b:hs1"}, version) != event_id_of(pdu, version)


def test_redaction_leaves_its_input_alone() -> None:
    room = RoomBuilder.create("@alice:hs1")
    event: Event = room.timeline[0]
    before = event.to_json_bytes()
    redact_event(event)
    assert event.to_json_bytes() == before
