"""Reading and setting state, and listing members."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rooms_world import RoomsWorld, at, refused

ALICE, BOB, EVE, GUEST = "@alice:hs1", "@bob:hs1", "@eve:hs1", "@guest:hs1"
NAME = "m.room.name"


@pytest.mark.parametrize("path", ["m.room.name", "m.room.name/"])
def test_the_empty_state_key_may_be_left_out_with_its_slash(path: str) -> None:
    world = RoomsWorld()
    room_id = world.make()
    event_id = world.ok("PUT", f"{at(room_id)}/state/{path}", ALICE, {"name": "Pub"})["event_id"]
    assert world.state_content(room_id, NAME) == {"name": "Pub"}
    assert world.ok("GET", f"{at(room_id)}/state/{path}", ALICE) == {"name": "Pub"}
    whole = world.ok("GET", f"{at(room_id)}/state/{path}?format=event", ALICE)
    assert (whole["event_id"], whole["state_key"], whole["room_id"]) == (event_id, "", room_id)


def test_a_state_key_may_hold_anything() -> None:
    world = RoomsWorld()
    room_id = world.make()
    for key in ("a/b", "ä%", "#?&", "@alice:hs1"):
        world.ok("PUT", at(room_id, "state", "m.x", key), ALICE, {"key": key})
        assert world.ok("GET", at(room_id, "state", "m.x", key), ALICE) == {"key": key}


def test_the_whole_state_is_a_list_of_events() -> None:
    world = RoomsWorld()
    room_id = world.make(name="Pub")
    events = world.ok("GET", at(room_id, "state"), ALICE)
    assert {event["type"] for event in events} >= {"m.room.create", "m.room.member", NAME}
    for event in events:
        assert {"event_id", "type", "sender", "content", "state_key", "room_id", "origin_server_ts"} <= set(
            event
        )


@pytest.mark.parametrize(
    ("status", "errcode", "method", "path"),
    [
        (404, "M_NOT_FOUND", "GET", "state/m.none"),
        (404, "M_NOT_FOUND", "GET", "state/m.room.name/other"),
        (400, "M_INVALID_PARAM", "GET", "state/m.room.name?format=xml"),
        (400, "M_BAD_JSON", "PUT", "state/m.room.name"),
        (405, "M_UNRECOGNIZED", "POST", "state/m.room.name"),
        (405, "M_UNRECOGNIZED", "DELETE", "state"),
    ],
)
def test_what_is_not_there_or_not_meant_is_refused(status: int, errcode: str, method: str, path: str) -> None:
    world = RoomsWorld()
    room_id = world.make(name="Pub")
    body = [] if method == "PUT" else None
    assert refused(world.call(method, f"{at(room_id)}/{path}", ALICE, body)) == (status, errcode)


def test_a_state_is_set_by_those_with_the_power() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    world.ok("POST", at(room_id, "join"), BOB)
    path = at(room_id, "state", NAME)
    assert refused(world.call("PUT", path, BOB, {"name": "Mine"})) == (403, "M_FORBIDDEN")
    assert world.call("PUT", path, ALICE, {"name": "Ours"}).status == 200
    assert refused(world.call("PUT", at(room_id, "state", "m.x", BOB), ALICE, {}))[0] == 403
    assert refused(world.call("PUT", at(room_id, "state", "m.room.create"), ALICE, {}))[0] == 403


@pytest.mark.parametrize(
    ("event_type", "content"),
    [
        ("m.room.power_levels", {"users": {ALICE: "100"}}),
        ("m.room.power_levels", {"users": []}),
        ("m.room.power_levels", {"users": {"alice": 1}}),
        ("m.room.power_levels", {"events_default": None}),
        ("m.room.power_levels", {"kick": 1.5}),
        ("m.room.power_levels", {"notifications": {"room": "50"}}),
        ("m.room.join_rules", {}),
        ("m.room.join_rules", {"join_rule": []}),
        ("m.room.join_rules", {"join_rule": "restricted", "allow": {}}),
    ],
)
def test_state_that_the_rules_read_must_have_the_right_shape(event_type: str, content: Any) -> None:
    world = RoomsWorld()
    path = at(world.make(room_version="11"), "state", event_type)
    assert refused(world.call("PUT", path, ALICE, content)) == (400, "M_BAD_JSON")
    good = {"users": {ALICE: 100}, "kick": 1} if "power" in event_type else {"join_rule": "public"}
    assert world.call("PUT", path, ALICE, good).status == 200


def test_a_canonical_alias_must_stand_for_the_room() -> None:
    world = RoomsWorld()
    room_id = world.make(room_alias_name="pub")
    world.make(room_alias_name="other")
    path = at(room_id, "state", "m.room.canonical_alias")
    assert refused(world.call("PUT", path, ALICE, {"alias": "#other:hs1"})) == (400, "M_BAD_ALIAS")
    assert refused(world.call("PUT", path, ALICE, {"alias": "pub"})) == (400, "M_INVALID_PARAM")
    assert world.call("PUT", path, ALICE, {"alt_aliases": ["#pub:hs1"]}).status == 200


def test_no_server_is_asked_for_an_alias_on_behalf_of_somebody_who_may_not_set_it() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    world.ok("POST", at(room_id, "join"), BOB)
    path = at(room_id, "state", "m.room.canonical_alias")
    assert refused(world.call("PUT", path, BOB, {"alias": "#a:hs2"})) == (403, "M_FORBIDDEN")
    assert world.elsewhere.asked == []
    assert refused(world.call("PUT", path, ALICE, {"alias": "#a:hs2"})) == (400, "M_BAD_ALIAS")
    assert world.elsewhere.asked == [("alias", "#a:hs2")]


# Membership by state event


def test_membership_by_state_event_is_membership() -> None:
    world = RoomsWorld()
    world.profiles[BOB] = {"displayname": "Bob"}
    room_id = world.make(preset="public_chat")
    path = at(room_id, "state", "m.room.member", BOB)
    event_id = world.ok("PUT", path, BOB, {"membership": "join"})["event_id"]
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "join", "displayname": "Bob"}
    assert world.ok("GET", f"{path}?format=event", BOB)["event_id"] == event_id
    world.ok("PUT", path, ALICE, {"membership": "ban"})
    assert refused(world.call("PUT", path, BOB, {"membership": "join"})) == (403, "M_FORBIDDEN")
    world.ok("PUT", path, ALICE, {"membership": "leave"})
    invited = at(room_id, "state", "m.room.member", "@carol:hs2")
    world.ok("PUT", invited, ALICE, {"membership": "invite"})
    assert [what for what, _ in world.elsewhere.asked] == ["invite"]


@pytest.mark.parametrize(
    ("status", "errcode", "key", "content"),
    [
        (400, "M_BAD_JSON", BOB, {}),
        (400, "M_BAD_JSON", BOB, {"membership": "around"}),
        (400, "M_BAD_JSON", BOB, {"membership": None}),
        (400, "M_BAD_JSON", BOB, {"membership": "join", "displayname": 1}),
        (400, "M_INVALID_PARAM", "bob", {"membership": "join"}),
        (400, "M_INVALID_PARAM", "", {"membership": "join"}),
        (403, "M_FORBIDDEN", EVE, {"membership": "join"}),
        (403, "M_FORBIDDEN", ALICE, {"membership": "leave"}),
    ],
)
def test_membership_events_that_make_no_sense_are_refused(
    status: int, errcode: str, key: str, content: Any
) -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    response = world.call("PUT", f"{at(room_id)}/state/m.room.member/{key}", BOB, content)
    assert refused(response) == (status, errcode)


def test_a_guest_needs_a_room_for_guests_by_state_event_too() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    path = at(room_id, "state", "m.room.member", GUEST)
    assert refused(world.call("PUT", path, GUEST, {"membership": "join"})) == (403, "M_FORBIDDEN")
    world.ok("PUT", at(room_id, "state", "m.room.guest_access"), ALICE, {"guest_access": "can_join"})
    world.ok("PUT", path, GUEST, {"membership": "join"})


# Who may read


def test_those_who_have_left_see_the_state_of_that_moment() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat", name="Before")
    world.ok("POST", at(room_id, "join"), BOB)
    world.ok("POST", at(room_id, "leave"), BOB)
    world.ok("PUT", at(room_id, "state", NAME), ALICE, {"name": "After"})
    world.ok("POST", at(room_id, "invite"), ALICE, {"user_id": BOB})
    assert world.ok("GET", at(room_id, "state", NAME), BOB) == {"name": "Before"}
    world.ok("POST", at(room_id, "leave"), BOB)
    assert world.ok("GET", at(room_id, "state", NAME), BOB) == {"name": "Before"}
    names = [
        event["content"] for event in world.ok("GET", at(room_id, "state"), BOB) if event["type"] == NAME
    ]
    assert names == [{"name": "Before"}]
    members = world.ok("GET", at(room_id, "members"), BOB)["chunk"]
    assert {event["state_key"]: event["content"]["membership"] for event in members} == {
        ALICE: "join",
        BOB: "leave",
    }
    world.ok("POST", at(room_id, "join"), BOB)
    assert world.ok("GET", at(room_id, "state", NAME), BOB) == {"name": "After"}


@pytest.mark.parametrize("path", ["state", "state/m.room.name", "members", "joined_members", "aliases"])
def test_who_never_was_a_member_reads_nothing_unless_anybody_may(path: str) -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat", name="Pub", invite=[BOB])
    for name, user in ((room_id, EVE), (room_id, BOB), ("!unknown:hs1", EVE)):
        assert refused(world.call("GET", f"{at(name)}/{path}", user)) == (403, "M_FORBIDDEN")
    readable = {"history_visibility": "world_readable"}
    world.ok("PUT", at(room_id, "state", "m.room.history_visibility"), ALICE, readable)
    expected = 403 if path == "joined_members" else 200
    assert world.call("GET", f"{at(room_id)}/{path}", EVE).status == expected
    assert refused(world.call("GET", f"{at(room_id)}/{path}")) == (401, "M_MISSING_TOKEN")
    assert refused(world.call("GET", f"{at('room')}/{path}", EVE)) == (400, "M_INVALID_PARAM")


# Members


def members(world: RoomsWorld, room_id: str, query: str = "", user: str = ALICE) -> list[str]:
    chunk = world.ok("GET", f"{at(room_id)}/members{query}", user)["chunk"]
    assert all(event["type"] == "m.room.member" for event in chunk)
    return sorted(event["state_key"] for event in chunk)


def test_members_are_filtered_by_either_of_two_conditions() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat", invite=[EVE])
    world.ok("POST", at(room_id, "join"), BOB)
    world.ok("POST", at(room_id, "leave"), BOB)
    assert members(world, room_id) == [ALICE, BOB, EVE]
    assert members(world, room_id, "?membership=join") == [ALICE]
    assert members(world, room_id, "?not_membership=leave") == [ALICE, EVE]
    assert members(world, room_id, "?membership=leave&not_membership=join") == [BOB, EVE]
    assert refused(world.call("GET", f"{at(room_id)}/members?membership=x", ALICE)) == (
        400,
        "M_INVALID_PARAM",
    )


def test_members_at_a_token_are_those_of_that_moment() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    before = world.observer.committed[-1].position
    world.ok("POST", at(room_id, "join"), BOB)
    after = world.observer.committed[-1].position
    assert members(world, room_id, f"?at=e{before}") == [ALICE]
    assert members(world, room_id, f"?at=e{after}") == [ALICE, BOB]
    assert members(world, room_id, "?at=e0") == []
    assert refused(world.call("GET", f"{at(room_id)}/members?at=x", ALICE)) == (400, "M_INVALID_PARAM")
    world.ok("POST", at(room_id, "leave"), BOB)
    world.ok("POST", at(room_id, "join"), EVE)
    assert members(world, room_id, "?at=e999999", BOB) == [ALICE, BOB]
    assert members(world, room_id, f"?at=e{before}", BOB) == [ALICE]


def test_joined_members_come_with_their_profiles() -> None:
    world = RoomsWorld()
    world.profiles[BOB] = {"displayname": "Bob", "avatar_url": "mxc://hs1/b"}
    room_id = world.make(preset="public_chat", invite=[EVE])
    world.ok("POST", at(room_id, "join"), BOB)
    assert world.ok("GET", at(room_id, "joined_members"), ALICE) == {
        "joined": {ALICE: {}, BOB: {"display_name": "Bob", "avatar_url": "mxc://hs1/b"}}
    }
    world.ok("POST", at(room_id, "leave"), BOB)
    assert refused(world.call("GET", at(room_id, "joined_members"), BOB)) == (403, "M_FORBIDDEN")
