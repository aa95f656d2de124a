"""Signatures: who must sign, and that nothing but the right signature passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signedjson.sign import SignatureVerifyException, verify_signed_json

from minihs.events.event import Event, parse_event
from minihs.events.redaction import redact
from minihs.events.signatures import BadSignature, required_signers, sign_pdu, verify_object, verify_pdu
from minihs.events.versions import ROOM_VERSIONS
from tests.support.events import RoomBuilder, signer_of, verify_keys_of

V12 = ROOM_VERSIONS["12"]
KEYS = verify_keys_of("hs1")


def a_message() -> Event:
    return RoomBuilder.create("@alice:hs1").message("@alice:hs1")


def test_a_built_event_is_signed_by_its_senders_server() -> None:
    event = a_message()
    verify_pdu(event.pdu, V12, "hs1", KEYS)
    verify_signed_json(redact(event.pdu, V12), "hs1", KEYS["ed25519:1"])


def test_a_signature_holds_for_a_pdu_and_for_its_redacted_copy() -> None:
    event = a_message()
    verify_pdu(redact(event.pdu, V12), V12, "hs1", KEYS)
    verify_pdu({**event.pdu, "content": {"body": "changed"}, "unsigned": {}}, V12, "hs1", KEYS)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"depth": 99}, "is wrong"),
        ({"hashes": {"sha256": "x"}}, "is wrong"),
        ({"signatures": {}}, "there is no signature by hs1"),
        ({"signatures": []}, "there is no signature by hs1"),
        ({"signatures": {"hs1": []}}, "there is no signature by hs1"),
        ({"signatures": {"hs2": {"ed25519:1": "x"}}}, "there is no signature by hs1"),
        ({"signatures": {"hs1": {}}}, "known and valid"),
        ({"signatures": {"hs1": {"ed25519:2": "x"}}}, "known and valid"),
        ({"signatures": {"hs1": {"ed25519:1": ""}}}, "is wrong"),
        ({"signatures": {"hs1": {"ed25519:1": "é!"}}}, "is wrong"),
        ({"signatures": {"hs1": {"ed25519:1": "A" * 86}}}, "is wrong"),
        ({"signatures": {"hs1": {"ed25519:1": None}}}, "is wrong"),
        ({"signatures": {"hs1": {"ed25519:1": 7}}}, "is wrong"),
    ],
)
def test_any_other_signature_is_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadSignature, match=fault):
        verify_pdu({**a_message().pdu, **change}, V12, "hs1", KEYS)


def test_a_signature_with_another_servers_key_is_refused() -> None:
    with pytest.raises(BadSignature, match="is wrong"):
        verify_pdu(a_message().pdu, V12, "hs1", verify_keys_of("hs2"))


def test_one_wrong_signature_spoils_a_right_one_and_an_unknown_one_is_skipped() -> None:
    event = a_message()
    both = {**event.pdu["signatures"]["hs1"], "ed25519:2": "A" * 86}
    pdu = {**event.pdu, "signatures": {"hs1": both}}
    verify_pdu(pdu, V12, "hs1", KEYS)
    with pytest.raises(BadSignature, match="ed25519:2 is wrong"):
        verify_pdu(pdu, V12, "hs1", {**KEYS, "ed25519:2": KEYS["ed25519:1"]})


def test_signing_adds_to_the_signatures_that_are_there() -> None:
    event = a_message()
    twice = sign_pdu(event.pdu, V12, signer_of("hs2"))
    verify_pdu(twice, V12, "hs1", KEYS)
    verify_pdu(twice, V12, "hs2", verify_keys_of("hs2"))
    assert sorted(event.pdu["signatures"]) == ["hs1"]
    assert parse_event(twice, V12).event_id == event.event_id


objects = st.dictionaries(
    st.text(max_size=4), st.none() | st.text(max_size=4) | st.integers(-9, 9), max_size=4
)


@given(objects)
def test_signing_an_object_verifies_here_and_in_signedjson(value: dict[str, Any]) -> None:
    value.pop("signatures", None)
    before = dict(value)
    signed = signer_of("hs1").sign(value)
    assert value == before
    verify_object({**signed, "unsigned": {"age": 1}}, "hs1", KEYS)
    verify_signed_json(signed, "hs1", KEYS["ed25519:1"])
    tampered = {**signed, "another key": 1}
    with pytest.raises(BadSignature):
        verify_object(tampered, "hs1", KEYS)
    with pytest.raises(SignatureVerifyException):
        verify_signed_json(tampered, "hs1", KEYS["ed25519:1"])


def test_signing_again_keeps_other_signatures_and_leaves_the_object_alone() -> None:
    once = signer_of("hs1").sign({"a": 1})
    twice = signer_of("hs2").sign(once)
    assert sorted(once["signatures"]) == ["hs1"]
    assert sorted(twice["signatures"]) == ["hs1", "hs2"]


def member_of(version: str, content: dict[str, Any]) -> Event:
    room = RoomBuilder.create("@alice:hs1", version=version)
    return room.make("@alice:hs1", "m.room.member", content, "@alice:hs1")


def test_the_senders_server_signs() -> None:
    assert required_signers(a_message()) == ("hs1",)
    assert required_signers(member_of("12", {"membership": "invite"})) == ("hs1",)


def test_the_server_of_who_authorised_a_join_signs_too_since_v8() -> None:
    content = {"membership": "join", "join_authorised_via_users_server": "@bob:a.hs2"}
    assert required_signers(member_of("7", content)) == ("hs1",)
    assert required_signers(member_of("8", content)) == ("a.hs2", "hs1")


@pytest.mark.parametrize("authorising", [None, 1, "bob", ["@bob:hs2"]])
def test_nobody_signs_for_what_is_no_user(authorising: object) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": authorising}
    assert required_signers(member_of("12", content)) == ("hs1",)


def test_a_third_party_invite_may_come_from_any_server() -> None:
    content = {"membership": "invite", "third_party_invite": {}}
    assert required_signers(member_of("12", content)) == ()
    assert required_signers(member_of("12", {**content, "membership": "join"})) == ("hs1",)
