"""Summaries of rooms: what they say, and whom a join rule lets in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.join_rules import allowed_rooms
from minihs.rooms.summary import RoomSummary, summary_of
from tests.support.events import RoomBuilder

ALICE = "@alice:hs1"


def summed(version: str = "12", join_rule: str | None = "public", **state: dict[str, Any]) -> RoomSummary:
    room = RoomBuilder.create(ALICE, version=version, join_rule=join_rule)
    for name, content in state.items():
        room.state_event(ALICE, f"m.room.{name}", "", content)
    return summary_of(room.room_id, room.version, room.state, 1)


def test_a_summary_tells_the_room_in_the_words_of_the_endpoints() -> None:
    summary = summed(
        name={"name": "Tea"},
        topic={"topic": "Leaves"},
        avatar={"url": "mxc://hs1/x"},
        canonical_alias={"alias": "#tea:hs1"},
        history_visibility={"history_visibility": "world_readable"},
        guest_access={"guest_access": "can_join"},
        encryption={"algorithm": "m.megolm.v1.aes-sha2"},
    )
    assert msgspec.to_builtins(summary) == {
        "room_id": summary.room_id,
        "num_joined_members": 1,
        "world_readable": True,
        "guest_can_join": True,
        "name": "Tea",
        "topic": "Leaves",
        "canonical_alias": "#tea:hs1",
        "avatar_url": "mxc://hs1/x",
        "join_rule": "public",
        "encryption": "m.megolm.v1.aes-sha2",
        "room_version": "12",
    }


def test_what_has_the_wrong_type_is_left_out() -> None:
    summary = summed(name={"name": 5}, topic={"topic": ["x"]}, guest_access={"guest_access": True})
    assert (summary.name, summary.topic, summary.guest_can_join) == (None, None, False)


def test_a_room_without_join_rules_is_for_the_invited() -> None:
    assert summed(join_rule=None).join_rule == "invite"
    assert not summed(join_rule=None).is_open


@pytest.mark.parametrize(
    ("join_rule", "since"), [("knock", "7"), ("knock_restricted", "10"), ("public", "3")]
)
def test_a_rule_opens_a_room_in_the_versions_that_know_it(join_rule: str, since: str) -> None:
    for version in ROOM_VERSIONS:
        assert summed(version, join_rule).is_open is (int(version) >= int(since))


@pytest.mark.parametrize(("join_rule", "since"), [("restricted", "8"), ("knock_restricted", "10")])
def test_members_of_the_allowed_rooms_get_in_in_the_versions_that_know_the_rule(
    join_rule: str, since: str
) -> None:
    allow = [{"type": "m.room_membership", "room_id": "!a:x"}, {"type": "other", "room_id": "!b:x"}]
    for version in ROOM_VERSIONS:
        summary = summed(version, join_rules={"join_rule": join_rule, "allow": allow})
        assert summary.admitting_rooms == (("!a:x",) if int(version) >= int(since) else ())
    assert summed(join_rules={"join_rule": "invite", "allow": allow}).admitting_rooms == ()


def test_conditions_that_name_no_room_are_none() -> None:
    condition = {"type": "m.room_membership", "room_id": "!a:x"}
    odd: list[Any] = [None, 5, {"type": "m.room_membership"}, {**condition, "room_id": "#a:x"}]
    assert allowed_rooms({"allow": [*odd, condition, condition]}) == (RoomID("!a:x"),)
    assert allowed_rooms({"allow": condition}) == allowed_rooms({}) == ()


def test_another_server_that_names_no_rule_means_public() -> None:
    told: dict[str, Any] = {
        "room_id": "!a:x",
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
    }
    assert msgspec.convert(told, RoomSummary).is_open
    assert not msgspec.convert({**told, "join_rule": "invite"}, RoomSummary).is_open
