"""Auth rule 10: who may change which power level to what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import Allowed, Refused, authorise
from tests.support.auth_rules import ALICE, BOB, CAROL, DAVE, Pair, a_room, between, levels, on, rule_case
from tests.support.events import RoomBuilder

POWER = "m.room.power_levels"
NAMED = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")


def change(room: RoomBuilder, content: Mapping[str, Any], sender: str = BOB) -> Any:
    return room.make(sender, POWER, content, "")


def rule_of(room: RoomBuilder, content: Mapping[str, Any], sender: str = BOB) -> str:
    return authorise(change(room, content, sender), room.state, room.version).rule


@rule_case(refused_by="v12 10.1", allowed_by="v12 10.11", since=10)
def test_a_level_is_an_integer_since_v10(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, change(room, levels(version, ban=50)), change(room, levels(version, ban="50")))


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("level", [None, True, "50", [50], {}])
def test_no_level_is_anything_but_an_integer_since_v10(name: str, level: object) -> None:
    old, new = (a_room(ROOM_VERSIONS[version]) for version in ("9", "10"))
    named: dict[str, Any] = {name: level}
    assert rule_of(new, levels(new.version, **named)) == "v12 10.1"
    assert rule_of(old, levels(old.version, **named)) == "v12 10.11"


@rule_case(refused_by="v12 10.2", allowed_by="v12 10.11", since=10)
def test_levels_of_events_are_integers_since_v10(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(
        room,
        change(room, levels(version, events={"m.room.name": 50})),
        change(room, levels(version, events={"m.room.name": "50"})),
    )


@pytest.mark.parametrize("group", ["events", "notifications"])
@pytest.mark.parametrize("value", [None, [], 50, {"x": None}, {"x": False}, {"x": {}}])
def test_levels_of_events_and_notifications_are_objects_since_v10(group: str, value: object) -> None:
    old, new = (a_room(ROOM_VERSIONS[version]) for version in ("9", "10"))
    named: dict[str, Any] = {group: value}
    assert rule_of(new, levels(new.version, **named)) == "v12 10.2"
    assert rule_of(old, levels(old.version, **named)) == "v12 10.11"


@rule_case(refused_by="v12 10.3", allowed_by="v12 10.11")
def test_the_levels_of_users_are_under_user_ids(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(
        room,
        change(room, levels(version, {CAROL: 50})),
        change(room, levels(version, {"carol": 50})),
    )


@pytest.mark.parametrize("users", [None, [], 50, {BOB: None}, {BOB: True}, {BOB: "high"}, {BOB: []}])
def test_the_levels_of_users_are_an_object_of_integers(users: object) -> None:
    for version in ROOM_VERSIONS.values():
        room = a_room(version)
        assert rule_of(room, {"users": users}, ALICE) == "v12 10.3"


@pytest.mark.parametrize("level", ["50", " +0050\t", "-1"])
def test_a_users_level_may_be_a_string_until_v9(level: str) -> None:
    for version_id, expected in (("9", "v12 10.11"), ("10", "v12 10.3")):
        room = a_room(ROOM_VERSIONS[version_id])
        assert rule_of(room, levels(room.version, {CAROL: level})) == expected


def test_a_power_levels_event_need_not_list_users() -> None:
    room = RoomBuilder.create(ALICE, version="12")
    assert rule_of(room, {}, ALICE) == "v12 10.5"


@rule_case(refused_by="v12 10.4", allowed_by="v12 10.11", since=12)
def test_the_creator_is_not_listed_since_v12(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(
        room,
        change(room, {"users": {BOB: 50, CAROL: 0}}, ALICE),
        change(room, {"users": {BOB: 50, ALICE: 0}}, ALICE),
    )


def test_additional_creators_are_not_listed_since_v12_and_are_nobody_before() -> None:
    for version_id, expected in (("11", "v12 10.5"), ("12", "v12 10.4")):
        room = RoomBuilder.create(ALICE, version=version_id, content={"additional_creators": [BOB]})
        assert rule_of(room, {"users": {BOB: 50}}, ALICE) == expected


@rule_case(refused_by="v12 10.6.2", allowed_by="v12 10.5", until=11)
def test_the_first_power_levels_may_be_above_the_creators_until_v11(version: RoomVersion) -> Pair:
    room = RoomBuilder.create(ALICE, version=version.id)
    event = change(room, levels(version, ban=101), ALICE)
    first = dict(room.state)
    room.state_event(ALICE, POWER, "", levels(version))
    return between(event, first, room.state)


@rule_case(refused_by="v12 8", allowed_by="v12 10.5")
def test_the_first_power_levels_are_the_creators(version: RoomVersion) -> Pair:
    room = RoomBuilder.create(ALICE, version=version.id)
    room.join(BOB)
    return on(room, change(room, levels(version), ALICE), change(room, levels(version), BOB))


@pytest.mark.parametrize("name", NAMED)
def test_who_changes_a_level_has_at_least_the_old_one_and_the_new_one(name: str) -> None:
    version = ROOM_VERSIONS["12"]
    for old, new, expected in (
        (50, 49, "v12 10.11"),
        (51, 49, "v12 10.6.1"),
        (51, None, "v12 10.6.1"),
        (None, 50, "v12 10.11"),
        (None, 51, "v12 10.6.2"),
        (49, 51, "v12 10.6.2"),
        (51, 51, "v12 10.11"),
    ):
        before: dict[str, Any] = {} if old is None else {name: old}
        after: dict[str, Any] = {} if new is None else {name: new}
        room = a_room(version, **before, events={POWER: 0})
        changed = levels(version, **after, events={POWER: 0})
        assert rule_of(room, changed) == expected, (old, new)


@rule_case(refused_by="v12 10.6.1", allowed_by="v12 10.11")
def test_a_level_above_ones_own_is_not_changed(version: RoomVersion) -> Pair:
    room = a_room(version, ban=60)
    return on(room, change(room, levels(version, ban=60)), change(room, levels(version, ban=50)))


@rule_case(refused_by="v12 10.6.2", allowed_by="v12 10.11")
def test_no_level_is_raised_above_ones_own(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, change(room, levels(version, kick=50)), change(room, levels(version, kick=51)))


@rule_case(refused_by="v12 10.7.1", allowed_by="v12 10.11")
def test_the_level_of_an_event_type_above_ones_own_is_not_changed(version: RoomVersion) -> Pair:
    room = a_room(version, events={"m.room.name": 60})
    return on(
        room,
        change(room, levels(version, events={"m.room.name": 60})),
        change(room, levels(version, events={})),
    )


@rule_case(refused_by="v12 10.8.1", allowed_by="v12 10.11")
def test_the_level_of_an_event_type_is_not_raised_above_ones_own(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(
        room,
        change(room, levels(version, events={"m.room.name": 50})),
        change(room, levels(version, events={"m.room.name": 51})),
    )


def test_the_level_of_an_event_type_at_ones_own_may_be_changed_and_removed() -> None:
    room = a_room(ROOM_VERSIONS["12"], events={"m.room.name": 50})
    assert rule_of(room, levels(room.version, events={"m.room.name": 0})) == "v12 10.11"
    assert rule_of(room, levels(room.version, events={})) == "v12 10.11"


def test_the_levels_of_notifications_count_since_v6() -> None:
    for version_id, removed, added in (
        ("5", "v12 10.11", "v12 10.11"),
        ("6", "v12 10.7.1", "v12 10.8.1"),
        ("12", "v12 10.7.1", "v12 10.8.1"),
    ):
        version = ROOM_VERSIONS[version_id]
        assert rule_of(a_room(version, notifications={"room": 60}), levels(version)) == removed
        assert rule_of(a_room(version), levels(version, notifications={"room": 60})) == added


@rule_case(refused_by="v12 10.9.1", allowed_by="v12 10.11")
def test_nobody_demotes_somebody_of_the_same_level(version: RoomVersion) -> Pair:
    room = a_room(version, users={CAROL: 49, DAVE: 50})
    return on(
        room,
        change(room, levels(version, {CAROL: 0, DAVE: 50})),
        change(room, levels(version, {CAROL: 49, DAVE: 0})),
    )


def test_one_demotes_oneself() -> None:
    for version in ROOM_VERSIONS.values():
        assert rule_of(a_room(version), levels(version, {BOB: 10})) == "v12 10.11"


@rule_case(refused_by="v12 10.10.1", allowed_by="v12 10.11")
def test_nobody_is_raised_above_ones_own_level(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, change(room, levels(version, {CAROL: 50})), change(room, levels(version, {CAROL: 51})))


def test_nobody_raises_oneself() -> None:
    for version in ROOM_VERSIONS.values():
        assert rule_of(a_room(version), levels(version, {BOB: 51})) == "v12 10.10.1"


def test_creators_change_everything_since_v12() -> None:
    version = ROOM_VERSIONS["12"]
    room = a_room(version, users={CAROL: 2**53 - 1}, ban=2**53 - 1)
    assert rule_of(room, levels(version, {CAROL: 0}, kick=2**53 - 1), ALICE) == "v12 10.11"


def test_another_spelling_of_a_level_is_no_change_until_v9() -> None:
    version = ROOM_VERSIONS["9"]
    room = a_room(version, ban="60", events={"m.room.name": "060"}, users={DAVE: " 60"})
    same = levels(version, {DAVE: 60}, ban=60, events={"m.room.name": 60})
    assert rule_of(room, same) == "v12 10.11"


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_contents = st.dictionaries(
    st.sampled_from([*NAMED, "users", "events", "notifications", "x"]),
    _json | st.dictionaries(st.sampled_from([ALICE, BOB, CAROL, "m.room.name"]), _json, max_size=3),
    max_size=6,
)


@given(old=_contents, new=_contents, version=st.sampled_from(sorted(ROOM_VERSIONS)))
def test_power_levels_of_any_shape_get_a_verdict(
    old: dict[str, Any], new: dict[str, Any], version: str
) -> None:
    room = RoomBuilder.create(ALICE, version=version)
    room.state_event(ALICE, POWER, "", old)
    for sender in (ALICE, BOB):
        verdict = authorise(change(room, new, sender), room.state, room.version)
        assert isinstance(verdict, Allowed | Refused)
