"""Room versions: which flag changes where. What a flag does is tested where it is read, on both sides."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import fields

from minihs.events.versions import (
    DEFAULT_VERSION,
    ROOM_VERSIONS,
    SUPPORTED,
    UnsupportedRoomVersion,
    supported,
)

CHANGES = {
    "4": {"url_safe_event_ids"},
    "5": {"enforce_key_validity"},
    "6": {
        "strict_canonical_json",
        "aliases_are_special",
        "float_power_levels",
        "notifications_need_power",
    },
    "7": {"knocking"},
    "8": {"restricted_joins", "redaction_keeps_allow"},
    "9": {"redaction_keeps_authorising_user"},
    "10": {"string_power_levels", "knock_restricted"},
    "11": {
        "creator_in_content",
        "redacts_in_content",
        "redaction_keeps_old_keys",
        "redaction_keeps_whole_create",
        "redaction_keeps_invite_level",
        "redaction_keeps_third_party_signed",
    },
    "12": {
        "room_id_is_create_hash",
        "create_in_auth_events",
        "privileged_creators",
        "state_resolution_2_1",
    },
}


def test_each_version_changes_what_its_page_says() -> None:
    names = {field.name for field in fields(ROOM_VERSIONS["3"])} - {"id"}
    rows = list(ROOM_VERSIONS.values())
    for before, after in pairwise(rows):
        changed = {name for name in names if getattr(before, name) != getattr(after, name)}
        assert changed == CHANGES[after.id], after.id
    assert names == set.union(*CHANGES.values())


def test_the_table_holds_versions_3_to_12_under_their_names() -> None:
    assert list(ROOM_VERSIONS) == [str(number) for number in range(3, 13)]
    assert all(version.id == name for name, version in ROOM_VERSIONS.items())


def test_every_version_of_the_table_is_supported_and_the_newest_is_the_default() -> None:
    assert list(SUPPORTED) == list(ROOM_VERSIONS)
    assert DEFAULT_VERSION == "12"
    assert supported("3") is ROOM_VERSIONS["3"]


@pytest.mark.parametrize("version", ["0", "13", "", " 12", 12, None, ["12"], {}])
def test_other_versions_are_refused_with_the_list_of_those_that_are_not(version: object) -> None:
    with pytest.raises(UnsupportedRoomVersion, match=r"^This server takes part .* 3, 4, .* 11, 12\.$"):
        supported(version)


@pytest.mark.parametrize("version", ["1", "2"])
def test_versions_1_and_2_are_refused_with_the_reason(version: str) -> None:
    with pytest.raises(UnsupportedRoomVersion, match=f"^Rooms of version {version} are refused, because"):
        supported(version)
