"""Upgrades between room versions that write the same things differently."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.room_actions.creation import InitialState, NewRoom
from minihs.homeserver.room_actions.upgrade import join_rules_for
from minihs.homeserver.rooms.drafts import EventDraft
from tests.support.rooms_world import RoomsWorld, at

ALICE, BOB, CAROL = UserID("@alice:hs1"), UserID("@bob:hs1"), UserID("@carol:hs1")


def make(world: RoomsWorld, version: str, **wanted: Any) -> RoomID:
    room_id: RoomID = world.run(
        world.actions.creation.create(ALICE, NewRoom(version=ROOM_VERSIONS[version], **wanted))
    )
    return room_id


def upgrade(world: RoomsWorld, room_id: str, version: str, user: str = ALICE) -> RoomID:
    return RoomID(
        world.ok("POST", at(room_id, "upgrade"), user, {"new_version": version})["replacement_room"]
    )


def set_levels(world: RoomsWorld, room_id: RoomID, content: dict[str, Any]) -> None:
    draft = EventDraft(
        room_id=room_id, sender=ALICE, type="m.room.power_levels", state_key="", content=content
    )
    world.run(world.rooms.send(draft))


@pytest.mark.parametrize("new", ["9", "10", "12"])
def test_levels_written_as_strings_become_integers(new: str) -> None:
    world = RoomsWorld()
    old = make(world, "9")
    set_levels(
        world,
        old,
        {
            "users": {ALICE: "100", BOB: " +060 "},
            "events": {"m.room.name": "70", "m.x": "high"},
            "kick": "55",
            "ban": "much",
            "users_default": "-1",
        },
    )
    levels = world.state_content(upgrade(world, old, new), "m.room.power_levels") or {}
    assert levels["users"] == {BOB: 60} | ({} if new == "12" else {ALICE: 100})
    assert (levels["events"], levels["kick"], levels["users_default"]) == ({"m.room.name": 70}, 55, -1)
    assert "ban" not in levels
    quiet = world.state_content(old, "m.room.power_levels") or {}
    assert (quiet["events_default"], quiet["invite"]) == (50, 50)


def test_who_made_a_room_of_version_12_keeps_its_power_in_an_older_one() -> None:
    world = RoomsWorld()
    old = make(
        world,
        "12",
        creation_content={"additional_creators": [CAROL]},
        power_levels={"users": {BOB: 150}},
        invite=[BOB],
    )
    world.ok("POST", at(old, "join"), BOB)
    levels = world.state_content(upgrade(world, old, "11", BOB), "m.room.power_levels") or {}
    assert levels["users"] == {ALICE: 150, BOB: 150, CAROL: 150}


@pytest.mark.parametrize(
    ("version", "rule", "carried"),
    [
        ("12", "knock_restricted", "knock_restricted"),
        ("9", "knock_restricted", "restricted"),
        ("7", "knock_restricted", "knock"),
        ("7", "restricted", "invite"),
        ("7", "knock", "knock"),
        ("6", "knock_restricted", "invite"),
        ("6", "knock", "invite"),
        ("3", "public", "public"),
        ("3", "invite", "invite"),
    ],
)
def test_a_join_rule_that_the_version_lacks_becomes_the_nearest_that_is_no_wider(
    version: str, rule: str, carried: str
) -> None:
    content = {"join_rule": rule, "allow": []}
    assert join_rules_for(ROOM_VERSIONS[version], content) == {"join_rule": carried, "allow": []}


def test_the_successor_has_the_carried_join_rule() -> None:
    world = RoomsWorld()
    rule = {"join_rule": "knock_restricted", "allow": []}
    old = make(world, "11", initial_state=[InitialState("m.room.join_rules", rule)])
    successor = upgrade(world, old, "8")
    assert world.state_content(successor, "m.room.join_rules") == {**rule, "join_rule": "restricted"}
