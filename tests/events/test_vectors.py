"""The specification's published values, and frozen events of every room version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minihs.events import canonical
from minihs.events.event import parse_event
from minihs.events.hashes import content_hash, content_hash_matches, event_id_of
from minihs.events.redaction import redact
from minihs.events.signatures import sign_pdu, verify_object, verify_pdu
from minihs.events.versions import ROOM_VERSIONS
from tests.support.events import signer_of, verify_keys_of
from tests.vectors import generate_events

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


CANONICAL = load("canonical_json.json")["cases"]
SIGNING = load("signing.json")
EVENTS = load("events.json")


@pytest.mark.parametrize("case", CANONICAL[:-1], ids=lambda case: case["canonical"][:20])
def test_published_json_has_its_published_canonical_form(case: dict[str, str]) -> None:
    value = json.loads(case["json"])
    canonical.check(value)
    assert canonical.encode(value).decode() == case["canonical"]


def test_published_json_with_an_exponent_is_refused_rather_than_rewritten() -> None:
    """The last example writes 1e10 as 10000000000. Since v6 such numbers are not accepted in events at all
    ("Event format" of v6), so nothing here turns one spelling into the other; -0 does become 0."""
    [case] = [case for case in CANONICAL if "1e10" in case["json"]]
    value = json.loads(case["json"])
    assert canonical.encode(value["a"]) == b"0"
    with pytest.raises(canonical.NotCanonical, match=r"^b is a number with a fraction or an exponent"):
        canonical.check(value)
    value["b"] = int(value["b"])
    assert canonical.encode(value).decode() == case["canonical"]


@pytest.mark.parametrize("case", SIGNING["json"], ids=["empty", "with values"])
def test_published_json_gets_its_published_signature(case: dict[str, Any]) -> None:
    signer = signer_of("domain")
    assert signer.key_id == SIGNING["key_id"]
    assert signer.sign(case["given"]) == case["signed"]
    verify_object(case["signed"], "domain", verify_keys_of("domain"))


@pytest.mark.parametrize("case", SIGNING["events"], ids=["minimal", "redactable"])
@pytest.mark.parametrize("version", [row for row in ROOM_VERSIONS.values() if row.redaction_keeps_old_keys])
def test_published_events_get_their_published_hash_and_signature(case: dict[str, Any], version: Any) -> None:
    """They have `origin`, which is essential until v10."""
    hashed = {**case["given"], "hashes": {"sha256": content_hash(case["given"])}}
    assert sign_pdu(hashed, version, signer_of("domain")) == case["signed"]
    assert content_hash_matches(case["signed"])
    verify_pdu(case["signed"], version, "domain", verify_keys_of("domain"))


@pytest.mark.parametrize("case", EVENTS, ids=lambda case: f"v{case['version']} {case['pdu']['type']}")
def test_frozen_events_keep_their_id_hash_and_signature(case: dict[str, Any]) -> None:
    version, pdu = ROOM_VERSIONS[case["version"]], case["pdu"]
    assert redact(pdu, version) == generate_events.essential(pdu, version.id)
    assert content_hash(pdu) == pdu["hashes"]["sha256"]
    assert event_id_of(pdu, version) == case["event_id"]
    unsigned = {**pdu, "signatures": {}}
    assert sign_pdu(unsigned, version, signer_of("domain")) == pdu
    verify_pdu(pdu, version, "domain", verify_keys_of("domain"))
    assert parse_event(pdu, version).event_id == case["event_id"]


def test_the_frozen_events_are_those_that_the_generator_makes() -> None:
    made = [
        generate_events.make(version, number, event_type, content)
        for version in ROOM_VERSIONS
        for number, (event_type, content) in enumerate(generate_events.CONTENTS.items())
    ]
    assert made == EVENTS
