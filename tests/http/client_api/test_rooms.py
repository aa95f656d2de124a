"""`POST /createRoom`, `POST /rooms/{roomId}/upgrade`."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.errors import Unavailable
from tests.support.rooms_world import RoomsWorld, at, refused

ALICE, BOB = "@alice:hs1", "@bob:hs1"


def test_an_empty_body_makes_a_private_room_of_the_default_version() -> None:
    world = RoomsWorld()
    response = world.call("POST", "/createRoom", ALICE, {})
    assert response.status == 200
    room_id = response.json["room_id"]
    assert list(response.json) == ["room_id"]
    assert world.state_content(room_id, "m.room.create") == {"room_version": "12"}
    assert world.state_content(room_id, "m.room.join_rules") == {"join_rule": "invite"}
    assert world.ok("GET", "/joined_rooms", ALICE) == {"joined_rooms": [room_id]}


def test_the_visibility_chooses_the_preset_when_none_is_named() -> None:
    world = RoomsWorld()
    join_rules = [
        world.state_content(world.make(**body), "m.room.join_rules")
        for body in ({"visibility": "public"}, {"visibility": "public", "preset": "private_chat"})
    ]
    assert join_rules == [{"join_rule": "public"}, {"join_rule": "invite"}]


def test_every_field_of_the_request_has_its_effect() -> None:
    world = RoomsWorld()
    room_id = world.make(
        visibility="public",
        room_alias_name="pub",
        name="The Pub",
        topic="Beer",
        invite=[BOB, BOB],
        room_version="11",
        creation_content={"m.federate": False},
        initial_state=[{"type": "m.x", "state_key": "k", "content": {"a": 1}}],
        preset="public_chat",
        is_direct=True,
        power_level_content_override={"ban": 77},
    )
    assert world.state_content(room_id, "m.room.create") == {"room_version": "11", "m.federate": False}
    assert world.state_content(room_id, "m.x", "k") == {"a": 1}
    assert world.state_content(room_id, "m.room.name") == {"name": "The Pub"}
    assert (world.state_content(room_id, "m.room.power_levels") or {})["ban"] == 77
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "invite", "is_direct": True}
    assert world.ok("GET", "/directory/room/%23pub%3Ahs1")["room_id"] == room_id
    assert [entry["room_id"] for entry in world.ok("GET", "/publicRooms")["chunk"]] == [room_id]


@pytest.mark.parametrize(
    ("status", "errcode", "body"),
    [
        (400, "M_UNSUPPORTED_ROOM_VERSION", {"room_version": "2"}),
        (400, "M_UNSUPPORTED_ROOM_VERSION", {"room_version": ""}),
        (400, "M_INVALID_PARAM", {"room_version": 10}),
        (400, "M_INVALID_PARAM", {"preset": "party"}),
        (400, "M_INVALID_PARAM", {"visibility": "secret"}),
        (400, "M_INVALID_PARAM", {"name": 1}),
        (400, "M_INVALID_PARAM", {"topic": {}}),
        (400, "M_INVALID_PARAM", {"invite": "@bob:hs1"}),
        (400, "M_INVALID_PARAM", {"invite": ["bob"]}),
        (400, "M_INVALID_PARAM", {"invite": [f"@user{number}:hs1" for number in range(101)]}),
        (400, "M_INVALID_PARAM", {"initial_state": {}}),
        (400, "M_MISSING_PARAM", {"initial_state": [{"type": "m.x"}]}),
        (400, "M_INVALID_PARAM", {"initial_state": [{"type": "m.x", "content": 1}]}),
        (413, "M_TOO_LARGE", {"initial_state": [{"type": "x" * 256, "content": {}}]}),
        (400, "M_BAD_JSON", {"initial_state": [{"type": "m.x", "content": {"n": 2**53}}]}),
        (400, "M_INVALID_PARAM", {"creation_content": []}),
        (400, "M_INVALID_PARAM", {"is_direct": "yes"}),
        (400, "M_BAD_JSON", {"power_level_content_override": {"ban": "77"}}),
        (400, "M_BAD_JSON", {"power_level_content_override": {"ban": True}}),
        (400, "M_INVALID_PARAM", {"room_alias_name": "a:b"}),
        (400, "M_INVALID_ROOM_STATE", {"power_level_content_override": {"users": {ALICE: 100}}}),
        (403, "M_FORBIDDEN", {"invite_3pid": [{"medium": "email", "address": "a@b", "id_server": "c"}]}),
        (413, "M_TOO_LARGE", {"topic": "x" * 66_000}),
    ],
)
def test_a_request_that_is_wrong_makes_no_room(status: int, errcode: str, body: Any) -> None:
    world = RoomsWorld()
    assert refused(world.call("POST", "/createRoom", ALICE, body)) == (status, errcode)
    assert world.observer.committed == []


def test_json_that_is_none_is_refused() -> None:
    world = RoomsWorld()
    for body, errcode in ((b"{", "M_NOT_JSON"), (b"[]", "M_BAD_JSON"), (b'{"name": NaN}', "M_NOT_JSON")):
        response = world.call("POST", "/createRoom", ALICE, body=body)
        assert refused(response) == (400, errcode)


def test_a_taken_alias_is_room_in_use() -> None:
    world = RoomsWorld()
    world.make(room_alias_name="pub")
    response = world.call("POST", "/createRoom", BOB, {"room_alias_name": "pub"})
    assert refused(response) == (400, "M_ROOM_IN_USE")


def test_a_server_that_is_away_does_not_spoil_the_room() -> None:
    world = RoomsWorld()
    world.elsewhere.refusal = Unavailable("hs2 does not answer.")
    world.make(invite=["@carol:hs2"])
    assert [what for what, _ in world.elsewhere.asked] == ["invite"]


def test_guests_and_strangers_make_no_rooms() -> None:
    world = RoomsWorld()
    assert refused(world.call("POST", "/createRoom", "@guest:hs1")) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert refused(world.call("POST", "/createRoom")) == (401, "M_MISSING_TOKEN")
    assert refused(world.call("POST", "/createRoom", "@suspended:hs1")) == (403, "M_USER_SUSPENDED")


# Upgrades


@pytest.mark.parametrize(
    ("old", "new"),
    sorted({(old, new) for one in ROOM_VERSIONS for old, new in ((one, "12"), ("12", one), (one, one))}),
)
def test_an_upgrade_replaces_a_room_and_keeps_what_can_be_kept(old: str, new: str) -> None:
    world = RoomsWorld()
    first = world.make(
        visibility="public",
        room_version=old,
        name="The Pub",
        topic="Beer",
        room_alias_name="pub",
        creation_content={"type": "m.space"},
        power_level_content_override={"users": {BOB: 60} if old == "12" else {ALICE: 100, BOB: 60}},
    )
    second = world.ok("POST", at(first, "upgrade"), ALICE, {"new_version": new})["replacement_room"]
    create = world.state_content(second, "m.room.create") or {}
    assert (create["room_version"], create["type"]) == (new, "m.space")
    assert create["predecessor"]["room_id"] == first
    for event_type in ("m.room.name", "m.room.topic", "m.room.join_rules", "m.room.canonical_alias"):
        expected = {} if event_type == "m.room.canonical_alias" else world.state_content(second, event_type)
        assert world.state_content(first, event_type) == expected
    assert world.state_content(second, "m.room.canonical_alias") == {"alias": "#pub:hs1"}
    levels = world.state_content(second, "m.room.power_levels") or {}
    assert levels["users"] == ({BOB: 60} if new == "12" else {ALICE: 100, BOB: 60} | _creator(old))
    assert (world.state_content(first, "m.room.tombstone") or {})["replacement_room"] == second
    assert (world.state_content(first, "m.room.power_levels") or {})["events_default"] == 50
    assert world.ok("GET", "/directory/room/%23pub%3Ahs1")["room_id"] == second
    assert [entry["room_id"] for entry in world.ok("GET", "/publicRooms")["chunk"]] == [second]


def _creator(old: str) -> dict[str, int]:
    """A creator of version 12 gets the highest level that the old room names: that of its tombstones."""
    return {ALICE: 150} if old == "12" else {}


def test_an_upgrade_succeeds_where_the_old_room_cannot_be_made_quieter() -> None:
    world = RoomsWorld()
    first = world.make(power_level_content_override={"users_default": 2**53 - 1})
    second = world.ok("POST", at(first, "upgrade"), ALICE, {"new_version": "12"})["replacement_room"]
    assert (world.state_content(first, "m.room.tombstone") or {})["replacement_room"] == second


def test_additional_creators_are_named_anew_with_each_upgrade() -> None:
    world = RoomsWorld()
    first = world.make(creation_content={"additional_creators": ["@carol:hs2"]})
    body = {"new_version": "12", "additional_creators": [BOB]}
    second = world.ok("POST", at(first, "upgrade"), ALICE, body)["replacement_room"]
    assert (world.state_content(second, "m.room.create") or {})["additional_creators"] == [BOB]


@pytest.mark.parametrize(
    ("status", "errcode", "user", "body"),
    [
        (400, "M_UNSUPPORTED_ROOM_VERSION", ALICE, {"new_version": "1"}),
        (400, "M_MISSING_PARAM", ALICE, {}),
        (400, "M_INVALID_PARAM", ALICE, {"new_version": 12}),
        (400, "M_INVALID_PARAM", ALICE, {"new_version": "12", "additional_creators": ["bob"]}),
        (403, "M_FORBIDDEN", BOB, {"new_version": "12"}),
        (403, "M_FORBIDDEN", "@eve:hs1", {"new_version": "12"}),
    ],
)
def test_an_upgrade_that_is_refused_changes_nothing(status: int, errcode: str, user: str, body: Any) -> None:
    world = RoomsWorld()
    first = world.make(preset="public_chat")
    world.ok("POST", at(first, "join"), BOB)
    committed = len(world.observer.committed)
    assert refused(world.call("POST", at(first, "upgrade"), user, body)) == (status, errcode)
    unknown = world.call("POST", at("!no:hs1", "upgrade"), ALICE, {"new_version": "12"})
    assert refused(unknown) == (403, "M_FORBIDDEN")
    assert len(world.observer.committed) == committed
