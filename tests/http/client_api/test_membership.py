"""The endpoints of room membership."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, ServerName
from minihs.federation.client import RemoteRefusal
from minihs.homeserver.elsewhere.protocols import AliasTarget
from minihs.homeserver.errors import Unavailable
from tests.support.rooms_world import RoomsWorld, at, refused

ALICE, BOB, GUEST = "@alice:hs1", "@bob:hs1", "@guest:hs1"
V12_ROOM = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"


def test_rooms_are_joined_by_id_and_by_alias() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat", room_alias_name="pub")
    for path, user in (
        (at(room_id, "join"), "@one:hs1"),
        (f"/join/{room_id}", "@two:hs1"),
        ("/join/%23pub%3Ahs1", "@three:hs1"),
        ("/join/%23pub:hs1", "@three:hs1"),
    ):
        assert world.ok("POST", path, user, {"reason": "hi"}) == {"room_id": room_id}
        assert world.state_content(room_id, "m.room.member", user) == {"membership": "join", "reason": "hi"}


def test_a_join_needs_no_body() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    assert world.call("POST", at(room_id, "join"), BOB, body=b"").status == 200


def test_via_and_its_old_spelling_name_the_servers_to_ask() -> None:
    world = RoomsWorld()
    for query in ("via=hs2&via=hs3%3A8448", "server_name=hs2&server_name=hs3%3A8448"):
        world.ok("POST", f"/join/{V12_ROOM}?{query}", BOB)
        (_, _, via, _) = world.elsewhere.asked.pop()[1]
        assert via == ("hs2", "hs3:8448")
        world.run(world.elsewhere.write(RoomID(V12_ROOM), BOB, "leave", BOB))  # type: ignore[arg-type]


def test_an_alias_from_afar_brings_its_servers() -> None:
    world = RoomsWorld()
    target = AliasTarget(RoomID(V12_ROOM), (ServerName("hs3"), ServerName("hs1")))
    world.elsewhere.aliases["#pub:hs2"] = target
    assert world.ok("POST", "/join/%23pub:hs2?via=hs2", BOB) == {"room_id": V12_ROOM}
    assert world.elsewhere.asked[-1][1][2] == ("hs2", "hs3")
    assert world.ok("POST", "/knock/%23pub:hs2", "@eve:hs1") == {"room_id": V12_ROOM}


@pytest.mark.parametrize(
    ("status", "errcode", "path"),
    [
        (404, "M_NOT_FOUND", "/join/%23none:hs1"),
        (404, "M_NOT_FOUND", "/join/%23none:hs2"),
        (404, "M_NOT_FOUND", "/join/!none:hs1"),
        (404, "M_NOT_FOUND", f"/join/{V12_ROOM}"),
        (404, "M_NOT_FOUND", "/rooms/!none:hs1/join"),
        (404, "M_NOT_FOUND", "/knock/!none:hs1"),
        (400, "M_INVALID_PARAM", "/join/room"),
        (400, "M_INVALID_PARAM", "/join/%23alias"),
        (400, "M_INVALID_PARAM", "/rooms/%23pub:hs1/join"),
        (400, "M_INVALID_PARAM", "/knock/room"),
        (400, "M_INVALID_PARAM", f"/join/{V12_ROOM}?via=not%20a%20server"),
        (400, "M_INVALID_PARAM", "/join/%ff?via=hs2"),
        (400, "M_INVALID_PARAM", "/rooms/nonsense/leave"),
        (403, "M_FORBIDDEN", "/rooms/!none:hs1/leave"),
    ],
)
def test_what_cannot_be_joined_or_left_says_why(status: int, errcode: str, path: str) -> None:
    world = RoomsWorld()
    assert refused(world.call("POST", path, BOB)) == (status, errcode)


def test_a_server_that_is_away_is_no_fault_of_the_client() -> None:
    world = RoomsWorld()
    world.elsewhere.refusal = Unavailable("hs2 does not answer.")
    assert refused(world.call("POST", f"/join/{V12_ROOM}?via=hs2", BOB)) == (503, "M_UNKNOWN")


@pytest.mark.parametrize(
    ("status", "errcode", "refusal"),
    [
        (403, "M_FORBIDDEN", RemoteRefusal(403, "M_FORBIDDEN", "no")),
        (404, "M_NOT_FOUND", RemoteRefusal(404, "M_NOT_FOUND", "no such room")),
        (400, "M_UNSUPPORTED_ROOM_VERSION", RemoteRefusal(400, "M_INCOMPATIBLE_ROOM_VERSION", "9")),
        (403, "M_FORBIDDEN", RemoteRefusal(400, "M_UNABLE_TO_GRANT_JOIN", "no")),
        (502, "M_UNKNOWN", RemoteRefusal(401, "M_UNKNOWN_TOKEN", "log out!")),
        (502, "M_UNKNOWN", RemoteRefusal(500, "M_UNKNOWN", "oops")),
    ],
)
def test_another_servers_refusal_is_passed_on_as_far_as_it_is_the_users(
    status: int, errcode: str, refusal: RemoteRefusal
) -> None:
    world = RoomsWorld()
    world.elsewhere.refusal = refusal
    assert refused(world.call("POST", f"/join/{V12_ROOM}?via=hs2", BOB)) == (status, errcode)


def test_a_private_room_is_entered_by_invite_only() -> None:
    world = RoomsWorld()
    room_id = world.make()
    assert refused(world.call("POST", at(room_id, "join"), BOB)) == (403, "M_FORBIDDEN")
    world.ok("POST", at(room_id, "invite"), ALICE, {"user_id": BOB, "reason": "come"})
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "invite", "reason": "come"}
    world.ok("POST", at(room_id, "invite"), ALICE, {"user_id": BOB})
    world.ok("POST", at(room_id, "join"), BOB)
    assert refused(world.call("POST", at(room_id, "invite"), ALICE, {"user_id": BOB})) == (403, "M_FORBIDDEN")


def test_the_way_through_kick_ban_unban_and_forget() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    world.ok("POST", at(room_id, "join"), BOB)
    body = {"user_id": BOB, "reason": "rude"}
    assert refused(world.call("POST", at(room_id, "forget"), BOB)) == (400, "M_UNKNOWN")
    for action, membership in (("kick", "leave"), ("ban", "ban"), ("unban", "leave")):
        assert world.ok("POST", at(room_id, action), ALICE, body) == {}
        content = world.state_content(room_id, "m.room.member", BOB)
        assert content == {"membership": membership, "reason": "rude"}
    assert refused(world.call("POST", at(room_id, "unban"), ALICE, body)) == (403, "M_BAD_STATE")
    assert refused(world.call("POST", at(room_id, "kick"), ALICE, body)) == (403, "M_FORBIDDEN")
    assert world.call("GET", at(room_id, "state"), BOB).status == 200
    assert world.ok("POST", at(room_id, "forget"), BOB) == {}
    assert refused(world.call("GET", at(room_id, "state"), BOB)) == (403, "M_FORBIDDEN")
    assert world.ok("POST", at("!never:hs1", "forget"), BOB) == {}


def test_a_room_is_left_and_an_invite_rejected_once_or_twice() -> None:
    world = RoomsWorld()
    room_id = world.make(invite=[BOB])
    for _ in range(2):
        assert world.ok("POST", at(room_id, "leave"), BOB, {"reason": "no"}) == {}
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "leave", "reason": "no"}
    assert world.ok("GET", "/joined_rooms", BOB) == {"joined_rooms": []}


@pytest.mark.parametrize("action", ["invite", "kick", "ban", "unban"])
@pytest.mark.parametrize(
    ("status", "errcode", "body"),
    [
        (400, "M_MISSING_PARAM", {}),
        (400, "M_INVALID_PARAM", {"user_id": 1}),
        (400, "M_INVALID_PARAM", {"user_id": "bob"}),
        (400, "M_INVALID_PARAM", {"user_id": "@" + "b" * 255 + ":hs1"}),
        (400, "M_INVALID_PARAM", {"user_id": BOB, "reason": 1}),
        (400, "M_BAD_JSON", []),
    ],
)
def test_bodies_that_name_nobody_are_refused(action: str, status: int, errcode: str, body: Any) -> None:
    world = RoomsWorld()
    room_id = world.make()
    assert refused(world.call("POST", at(room_id, action), ALICE, body)) == (status, errcode)
    assert refused(world.call("POST", at("room", action), ALICE, {"user_id": BOB})) == (
        400,
        "M_INVALID_PARAM",
    )


@pytest.mark.parametrize("action", ["invite", "kick", "ban", "unban"])
def test_an_unknown_room_looks_like_one_that_the_user_is_not_in(action: str) -> None:
    world = RoomsWorld()
    room_id = world.make(invite=[BOB])
    body = {"user_id": BOB}
    for name in ("!unknown:hs1", room_id):
        response = world.call("POST", at(name, action), "@eve:hs1", body)
        assert refused(response) == (403, "M_FORBIDDEN")


def test_third_parties_are_refused() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    by_mail = {"medium": "email", "address": "a@example.org", "id_server": "x", "id_access_token": "y"}
    assert refused(world.call("POST", at(room_id, "invite"), ALICE, by_mail)) == (403, "M_FORBIDDEN")
    signed = {"sender": ALICE, "mxid": BOB, "token": "c", "signatures": {}}
    for changes, expected in (
        ({}, (403, "M_FORBIDDEN")),
        ({"mxid": ALICE}, (403, "M_FORBIDDEN")),
        ({"sender": "alice"}, (400, "M_INVALID_PARAM")),
        ({"signatures": 5}, (400, "M_INVALID_PARAM")),
    ):
        body = {"third_party_signed": {**signed, **changes}}
        assert refused(world.call("POST", at(room_id, "join"), BOB, body)) == expected
    world.ok("POST", at(room_id, "join"), BOB)


def test_knocking_goes_by_the_join_rule() -> None:
    world = RoomsWorld()
    knock = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    room_id = world.make(initial_state=knock)
    assert world.ok("POST", f"/knock/{room_id}", BOB, {"reason": "please"}) == {"room_id": room_id}
    assert world.membership_of(room_id, BOB) == "knock"
    assert refused(world.call("POST", f"/knock/{world.make()}", BOB)) == (403, "M_FORBIDDEN")


def test_guests_join_and_leave_where_they_may_and_do_nothing_else() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    assert refused(world.call("POST", at(room_id, "join"), GUEST)) == (403, "M_FORBIDDEN")
    content = {"guest_access": "can_join"}
    world.ok("PUT", at(room_id, "state", "m.room.guest_access"), ALICE, content)
    world.ok("POST", at(room_id, "join"), GUEST)
    for action in ("invite", "kick", "ban", "unban", "forget"):
        response = world.call("POST", at(room_id, action), GUEST, {"user_id": BOB})
        assert refused(response) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    world.ok("POST", at(room_id, "leave"), GUEST)
    world.ok("POST", f"/join/{room_id}", GUEST)


def test_a_suspended_account_leaves_rooms_but_joins_none() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat", invite=["@suspended:hs1"])
    assert refused(world.call("POST", at(room_id, "join"), "@suspended:hs1")) == (403, "M_USER_SUSPENDED")
    world.ok("POST", at(room_id, "leave"), "@suspended:hs1")


def test_without_a_token_nothing_is_done() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    for action in ("join", "leave", "invite", "kick", "ban", "unban", "forget"):
        assert refused(world.call("POST", at(room_id, action))) == (401, "M_MISSING_TOKEN")
        assert refused(world.call("GET", at(room_id, action), ALICE)) == (405, "M_UNRECOGNIZED")
