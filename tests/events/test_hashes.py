"""Content hashes and reference hashes: what they cover and how they are spelled."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.hashes import content_hash, content_hash_matches, event_id_of, reference_hash
from minihs.events.versions import ROOM_VERSIONS
from tests.support.events import RoomBuilder

V12 = ROOM_VERSIONS["12"]


def a_pdu() -> dict[str, Any]:
    return dict(RoomBuilder.create("@alice:hs1").message("@alice:hs1").pdu)


@given(
    st.dictionaries(
        st.sampled_from(["unsigned", "signatures", "hashes"]), st.dictionaries(st.text(), st.none())
    )
)
def test_the_content_hash_does_not_cover_unsigned_signatures_and_hashes(extra: dict[str, Any]) -> None:
    pdu = {"type": "x", "content": {"body": "x"}}
    assert content_hash({**pdu, **extra}) == content_hash(pdu)


def test_the_content_hash_covers_everything_else() -> None:
    pdu = a_pdu()
    for key in sorted(pdu.keys() - {"signatures", "hashes"}):
        assert content_hash({**pdu, key: "other"}) != content_hash(pdu)
    assert content_hash({**pdu, "org.example": 1}) != content_hash(pdu)


def test_a_hash_matches_in_every_spelling_of_its_bytes() -> None:
    pdu = a_pdu()
    claimed = pdu["hashes"]["sha256"]
    urlsafe = claimed.replace("+", "-").replace("/", "_")
    for spelling in (claimed, claimed + "=", urlsafe):
        assert content_hash_matches({**pdu, "hashes": {"sha256": spelling}})


@pytest.mark.parametrize("claimed", ["", "x", "é", "!!!!", "A" * 43, "=" * 44, "\x00", "QQ"])
def test_another_hash_does_not_match(claimed: str) -> None:
    assert not content_hash_matches({**a_pdu(), "hashes": {"sha256": claimed}})


def test_a_changed_content_does_not_match_its_hash_but_has_the_same_event_id() -> None:
    pdu = a_pdu()
    changed = {**pdu, "content": {"body": "something else"}}
    assert content_hash_matches(pdu)
    assert not content_hash_matches(changed)
    assert event_id_of(changed, V12) == event_id_of(pdu, V12)


def test_a_changed_content_hash_changes_the_event_id() -> None:
    pdu = a_pdu()
    assert event_id_of({**pdu, "hashes": {"sha256": "x"}}, V12) != event_id_of(pdu, V12)


def test_event_ids_are_safe_in_urls_since_v4() -> None:
    pdus = [{"type": "x", "content": {}, "depth": depth} for depth in range(64)]
    v3, v4 = ROOM_VERSIONS["3"], ROOM_VERSIONS["4"]
    for pdu in pdus:
        old, new = reference_hash(pdu, v3), reference_hash(pdu, v4)
        assert len(old) == len(new) == 43
        assert old.replace("+", "-").replace("/", "_") == new
        assert event_id_of(pdu, v4) == "$" + new
    assert any(set("+/") & set(reference_hash(pdu, v3)) for pdu in pdus)
