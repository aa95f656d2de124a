"""Making rooms: which events, in which order, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.errors import (
    BadAlias,
    BadContent,
    InvalidParam,
    InvalidRoomState,
    RoomInUse,
    Unavailable,
)
from minihs.homeserver.room_actions.creation import PRESETS, InitialState, NewRoom
from tests.support.rooms_world import RoomsWorld

ALICE, BOB, CAROL = UserID("@alice:hs1"), UserID("@bob:hs1"), UserID("@carol:hs2")
EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS)


def create(world: RoomsWorld, *, version: str = "12", **wanted: Any) -> RoomID:
    room_id: RoomID = world.run(
        world.actions.creation.create(ALICE, NewRoom(version=ROOM_VERSIONS[version], **wanted))
    )
    return room_id


def events_of(world: RoomsWorld, room_id: RoomID) -> list[tuple[str, str | None]]:
    return [
        (committed.event.type, committed.event.state_key)
        for committed in world.observer.committed
        if committed.event.room_id == room_id
    ]


@EVERY_VERSION
def test_the_events_of_a_new_room_come_in_the_order_of_the_specification(version: str) -> None:
    world = RoomsWorld()
    room_id = create(
        world,
        version=version,
        alias_localpart="pub",
        name="The Pub",
        topic="Beer",
        invite=(BOB,),
        initial_state=(InitialState("m.room.avatar", {"url": "mxc://hs1/a"}),),
    )
    assert events_of(world, room_id) == [
        ("m.room.create", ""),
        ("m.room.member", ALICE),
        ("m.room.power_levels", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.join_rules", ""),
        ("m.room.history_visibility", ""),
        ("m.room.guest_access", ""),
        ("m.room.avatar", ""),
        ("m.room.name", ""),
        ("m.room.topic", ""),
        ("m.room.member", BOB),
    ]
    assert world.state_content(room_id, "m.room.canonical_alias") == {"alias": "#pub:hs1"}
    assert world.run(world.directory.resolve_local("#pub:hs1")).room_id == room_id
    topic = world.state_content(room_id, "m.room.topic")
    assert topic == {"topic": "Beer", "m.topic": {"m.text": [{"body": "Beer", "mimetype": "text/plain"}]}}


@pytest.mark.parametrize(
    ("preset", "join_rule", "guest_access"),
    [
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    ],
)
def test_a_preset_sets_the_state_of_its_row(preset: str, join_rule: str, guest_access: str) -> None:
    world = RoomsWorld()
    room_id = create(world, preset=PRESETS[preset])
    assert world.state_content(room_id, "m.room.join_rules") == {"join_rule": join_rule}
    assert world.state_content(room_id, "m.room.history_visibility") == {"history_visibility": "shared"}
    assert world.state_content(room_id, "m.room.guest_access") == {"guest_access": guest_access}


def test_initial_state_takes_the_place_of_what_the_preset_would_set() -> None:
    world = RoomsWorld()
    room_id = create(world, initial_state=(InitialState("m.room.join_rules", {"join_rule": "knock"}),))
    assert world.state_content(room_id, "m.room.join_rules") == {"join_rule": "knock"}
    assert events_of(world, room_id).count(("m.room.join_rules", "")) == 1


def test_the_creator_is_listed_in_the_power_levels_before_version_12_only() -> None:
    world = RoomsWorld()
    old, new = create(world, version="11"), create(world, version="12")
    assert (world.state_content(old, "m.room.power_levels") or {})["users"] == {ALICE: 100}
    assert (world.state_content(new, "m.room.power_levels") or {})["users"] == {}


def test_a_tombstone_needs_more_than_state_default_since_version_12() -> None:
    world = RoomsWorld()
    levels = world.state_content(create(world, version="12"), "m.room.power_levels") or {}
    assert levels["events"]["m.room.tombstone"] == 150
    raised = create(world, version="12", power_levels={"state_default": 200})
    levels = world.state_content(raised, "m.room.power_levels") or {}
    assert levels["events"]["m.room.tombstone"] > levels["state_default"] == 200


def test_power_level_overrides_replace_whole_keys() -> None:
    world = RoomsWorld()
    room_id = create(world, version="11", power_levels={"invite": 75, "events": {"m.x": 1}})
    levels = world.state_content(room_id, "m.room.power_levels") or {}
    assert (levels["invite"], levels["events"], levels["users"]) == (75, {"m.x": 1}, {ALICE: 100})


def test_trusted_invitees_have_the_creators_power() -> None:
    world = RoomsWorld()
    trusted = PRESETS["trusted_private_chat"]
    old = create(world, version="11", preset=trusted, invite=(BOB,))
    assert (world.state_content(old, "m.room.power_levels") or {})["users"] == {ALICE: 100, BOB: 100}
    asked = {"additional_creators": [CAROL, BOB]}
    new = create(world, version="12", preset=trusted, invite=(BOB,), creation_content=asked)
    assert (world.state_content(new, "m.room.create") or {})["additional_creators"] == [CAROL, BOB]
    plain = create(world, version="12", invite=(BOB,))
    assert "additional_creators" not in (world.state_content(plain, "m.room.create") or {})


@EVERY_VERSION
def test_the_server_decides_creator_and_room_version(version: str) -> None:
    world = RoomsWorld()
    asked = {"creator": "@mallory:hs1", "room_version": "1", "m.federate": False, "org.x": 1}
    content = world.state_content(create(world, version=version, creation_content=asked), "m.room.create")
    creator = {"creator": ALICE} if ROOM_VERSIONS[version].creator_in_content else {}
    assert content == {"room_version": version, "m.federate": False, "org.x": 1, **creator}


def test_local_invites_carry_profile_and_is_direct() -> None:
    world = RoomsWorld()
    world.profiles[BOB] = {"displayname": "Bob"}
    room_id = create(world, invite=(BOB,), is_direct=True)
    assert world.state_content(room_id, "m.room.member", BOB) == {
        "membership": "invite",
        "displayname": "Bob",
        "is_direct": True,
    }


def test_users_of_other_servers_are_invited_once_the_room_is_there() -> None:
    world = RoomsWorld()
    room_id = create(world, invite=(CAROL,), is_direct=True)
    [(what, change)] = world.elsewhere.asked
    assert (what, change.room_id, change.target) == ("invite", room_id, CAROL)
    assert change.content == {"membership": "invite", "is_direct": True}


def test_an_invite_to_a_server_that_is_away_does_not_undo_the_room() -> None:
    world = RoomsWorld()
    world.elsewhere.refusal = Unavailable("hs2 does not answer.")
    room_id = create(world, invite=(CAROL,), name="Here")
    assert world.state_content(room_id, "m.room.name") == {"name": "Here"}
    assert world.membership_of(room_id, CAROL) is None


def test_a_published_room_is_in_the_directory_from_the_start() -> None:
    world = RoomsWorld()
    assert world.run(world.actions.published.is_published(create(world, published=True))) is True
    assert world.run(world.actions.published.is_published(create(world))) is False


def test_an_alias_that_is_taken_is_refused_and_no_room_is_made() -> None:
    world = RoomsWorld()
    create(world, alias_localpart="pub")
    committed = len(world.observer.committed)
    with pytest.raises(RoomInUse):
        create(world, alias_localpart="pub")
    assert len(world.observer.committed) == committed
    create(world, alias_localpart="pub2")


def test_of_two_requests_for_one_alias_at_once_one_gets_it() -> None:
    world = RoomsWorld()
    with world.directory.claimed("#pub:hs1"), pytest.raises(RoomInUse):  # type: ignore[arg-type]
        create(world, alias_localpart="pub")
    create(world, alias_localpart="pub")


@pytest.mark.parametrize(
    ("refusal", "wanted"),
    [
        (InvalidRoomState, {"power_levels": {"users": {"@alice:hs1": 10}}, "version": "11", "name": "x"}),
        (InvalidRoomState, {"power_levels": {"users": {"@alice:hs1": 100}}, "version": "12"}),
        (InvalidRoomState, {"initial_state": (InitialState("m.room.create", {}),)}),
        (InvalidRoomState, {"initial_state": (InitialState("m.room.member", {"membership": "ban"}, BOB),)}),
        (InvalidRoomState, {"invite": (ALICE,)}),
        (InvalidRoomState, {"invite": (CAROL,), "creation_content": {"m.federate": False}}),
        (BadContent, {"power_levels": {"invite": "50"}}),
        (BadContent, {"power_levels": {"users": {"alice": 50}}}),
        (BadContent, {"creation_content": {"m.federate": "no"}}),
        (BadContent, {"creation_content": {"additional_creators": "@bob:hs1"}}),
        (BadContent, {"creation_content": {"additional_creators": ["bob"]}}),
        (BadContent, {"initial_state": (InitialState("m.room.join_rules", {"join_rule": 1}),)}),
        (BadContent, {"initial_state": (InitialState("m.x", {"n": 1.5}),)}),
        (InvalidParam, {"alias_localpart": "a:b"}),
        (InvalidParam, {"alias_localpart": ""}),
        (InvalidParam, {"alias_localpart": "a" * 256}),
        (BadAlias, {"initial_state": (InitialState("m.room.canonical_alias", {"alias": "#x:hs1"}),)}),
    ],
)
def test_what_cannot_be_a_room_is_refused_and_nothing_is_stored(
    refusal: type[Exception], wanted: dict[str, Any]
) -> None:
    world = RoomsWorld()
    with pytest.raises(refusal):
        create(world, **wanted)
    assert world.observer.committed == []
    assert world.elsewhere.asked == []
    create(world)


def test_additional_creators_mean_nothing_before_version_12() -> None:
    world = RoomsWorld()
    create(world, version="11", creation_content={"additional_creators": ["bob"]})
