"""Power levels: defaults, creators, and how each room version writes a level."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.power import INFINITE, PowerLevels, creators, parse_level
from tests.support.events import RoomBuilder

ALICE, BOB, CAROL = "@alice:hs1", "@bob:hs2", "@carol:hs1"


def levels_of(version: str, power_levels: dict[str, object] | None, **content: object) -> PowerLevels:
    room = RoomBuilder.create(ALICE, version=version, power_levels=power_levels, content=content)
    return PowerLevels.of(room.state, room.version)


def test_a_room_without_power_levels_has_the_defaults() -> None:
    for version in ROOM_VERSIONS:
        levels = levels_of(version, None)
        assert (levels.invite, levels.kick, levels.ban, levels.redact) == (0, 50, 50, 50)
        assert levels.needed_for_event("m.room.message", is_state=False) == 0
        assert levels.needed_for_event("m.room.topic", is_state=True) == 50
        assert levels.level_of(BOB) == 0


def test_an_empty_power_levels_event_has_the_same_defaults() -> None:
    levels = levels_of("12", {})
    assert (levels.invite, levels.kick, levels.ban, levels.redact) == (0, 50, 50, 50)
    assert levels.needed_for_event("m.room.topic", is_state=True) == 50
    assert levels.level_of(BOB) == 0


def test_what_an_event_says_comes_before_the_defaults() -> None:
    levels = levels_of(
        "12",
        {
            "invite": 1,
            "kick": 2,
            "ban": 3,
            "redact": 4,
            "events_default": 5,
            "state_default": 6,
            "users_default": 7,
            "events": {"m.room.topic": 8},
            "users": {BOB: -9},
            "notifications": {"room": 10},
        },
    )
    assert (levels.invite, levels.kick, levels.ban, levels.redact) == (1, 2, 3, 4)
    assert levels.needed_for_event("m.room.message", is_state=False) == 5
    assert levels.needed_for_event("m.room.name", is_state=True) == 6
    assert levels.needed_for_event("m.room.topic", is_state=True) == 8
    assert levels.needed_for_event("m.room.topic", is_state=False) == 8
    assert (levels.level_of(BOB), levels.level_of(CAROL)) == (-9, 7)


def test_the_creator_has_100_only_without_power_levels_until_v11_and_infinite_power_since_v12() -> None:
    assert (levels_of("11", None).level_of(ALICE), levels_of("11", {}).level_of(ALICE)) == (100, 0)
    assert (levels_of("12", None).level_of(ALICE), levels_of("12", {}).level_of(ALICE)) == (
        INFINITE,
        INFINITE,
    )


def test_additional_creators_count_since_v12() -> None:
    for version, level in (("11", 0), ("12", INFINITE)):
        assert levels_of(version, None, additional_creators=[BOB]).level_of(BOB) == level
    assert levels_of("12", None, additional_creators="@bob:hs2").level_of(BOB) == 0
    assert levels_of("12", None, additional_creators=[[BOB]]).level_of(BOB) == 0


def test_the_creator_is_who_is_named_until_v10_and_the_sender_since_v11() -> None:
    for version, expected in (("10", BOB), ("11", ALICE)):
        room = RoomBuilder.create(ALICE, version=version)
        create = room.make(ALICE, "m.room.create", {"creator": BOB}, "", prev_events=[])
        assert creators(create) == {expected}
    unnamed = room.make(ALICE, "m.room.create", {"creator": [BOB]}, "", prev_events=[])
    assert creators(unnamed) == {ALICE}


def test_infinite_power_is_above_every_integer() -> None:
    assert INFINITE > 2**53 - 1
    assert INFINITE > 10**308


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("100", 100),
        ("000100", 100),
        ("+100", 100),
        ("-100", -100),
        (" 100 ", 100),
        (" +00100\n", 100),
        ("0", 0),
        ("", None),
        ("+", None),
        ("1.5", None),
        ("1 0", None),
        ("+ 1", None),
        ("--1", None),
        ("1_0", None),
        ("0x1", None),
        ("\u0661", None),
        ("1" * 400, None),
    ],
)
def test_a_level_may_be_a_string_until_v9(value: str, level: int | None) -> None:
    assert parse_level(value, ROOM_VERSIONS["9"]) == level
    assert parse_level(value, ROOM_VERSIONS["10"]) is None


@pytest.mark.parametrize(
    ("value", "level"),
    [(50.57, 50), (-50.57, -50), (5.114698e4, 51146), (float("inf"), None), (float("nan"), None)],
)
def test_a_level_may_be_a_float_until_v5(value: float, level: int | None) -> None:
    assert parse_level(value, ROOM_VERSIONS["5"]) == level
    assert parse_level(value, ROOM_VERSIONS["6"]) is None


@pytest.mark.parametrize("value", [None, True, False, [], {}, [50]])
def test_nothing_else_is_a_level(value: object) -> None:
    assert all(parse_level(value, version) is None for version in ROOM_VERSIONS.values())


def test_what_is_malformed_counts_as_not_given() -> None:
    levels = levels_of("9", {"ban": "high", "events": [], "users": {BOB: "x"}, "users_default": "7"})
    assert levels.ban == 50
    assert levels.needed_for_event("m.room.topic", is_state=True) == 50
    assert levels.level_of(BOB) == 7


@given(st.integers(-(10**300), 10**300))
def test_a_string_level_is_the_integer_it_spells(level: int) -> None:
    assert parse_level(str(level), ROOM_VERSIONS["9"]) == level
    assert parse_level(level, ROOM_VERSIONS["12"]) == level
