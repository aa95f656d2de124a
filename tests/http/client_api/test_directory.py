"""Aliases and the published room directory over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, ServerName
from minihs.homeserver.elsewhere.protocols import AliasTarget
from minihs.homeserver.errors import Unavailable
from tests.support.rooms_world import RoomsWorld, at, refused

ALICE, BOB, ADMIN, GUEST = "@alice:hs1", "@bob:hs1", "@admin:hs1", "@guest:hs1"
PUB = "/directory/room/%23pub%3Ahs1"


def test_an_alias_is_made_resolved_listed_and_removed() -> None:
    world = RoomsWorld()
    room_id = world.make()
    assert refused(world.call("GET", PUB)) == (404, "M_NOT_FOUND")
    assert world.ok("PUT", PUB, ALICE, {"room_id": room_id}) == {}
    assert world.ok("GET", PUB) == {"room_id": room_id, "servers": ["hs1"]}
    assert world.ok("GET", at(room_id, "aliases"), ALICE) == {"aliases": ["#pub:hs1"]}
    assert refused(world.call("PUT", PUB, ALICE, {"room_id": room_id})) == (409, "M_UNKNOWN")
    assert refused(world.call("DELETE", PUB, BOB)) == (403, "M_FORBIDDEN")
    assert world.ok("DELETE", PUB, ADMIN) == {}
    assert refused(world.call("DELETE", PUB, ALICE)) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("status", "errcode", "path", "body"),
    [
        (400, "M_INVALID_PARAM", "/directory/room/pub", {"room_id": "!r:hs1"}),
        (400, "M_INVALID_PARAM", "/directory/room/%23pub", {"room_id": "!r:hs1"}),
        (400, "M_INVALID_PARAM", "/directory/room/%23pub:hs2", {"room_id": "!r:hs1"}),
        (400, "M_INVALID_PARAM", "/directory/room/%23:hs1", {"room_id": "!r:hs1"}),
        (400, "M_INVALID_PARAM", f"/directory/room/%23{'p' * 255}:hs1", {"room_id": "!r:hs1"}),
        (400, "M_INVALID_PARAM", PUB, {"room_id": "room"}),
        (400, "M_INVALID_PARAM", PUB, {"room_id": 1}),
        (400, "M_MISSING_PARAM", PUB, {}),
        (403, "M_FORBIDDEN", PUB, {"room_id": "!unknown:hs1"}),
    ],
)
def test_an_alias_that_cannot_be_made_is_refused(status: int, errcode: str, path: str, body: Any) -> None:
    world = RoomsWorld()
    assert refused(world.call("PUT", path, ALICE, body)) == (status, errcode)


def test_aliases_from_afar_are_asked_for_and_may_be_out_of_reach() -> None:
    world = RoomsWorld()
    world.elsewhere.aliases["#pub:hs2"] = AliasTarget(RoomID("!r:hs2"), (ServerName("hs2"),))
    path = "/directory/room/%23pub:hs2"
    assert world.ok("GET", path) == {"room_id": "!r:hs2", "servers": ["hs2"]}
    assert refused(world.call("GET", "/directory/room/%23bar:hs2")) == (404, "M_NOT_FOUND")
    world.elsewhere.refusal = Unavailable("hs2 does not answer.")
    assert refused(world.call("GET", path)) == (503, "M_UNKNOWN")
    assert refused(world.call("GET", "/directory/room/pub")) == (400, "M_INVALID_PARAM")


def test_a_rooms_visibility_is_read_by_anybody_and_set_by_moderators() -> None:
    world = RoomsWorld()
    room_id = world.make(preset="public_chat")
    world.ok("POST", at(room_id, "join"), BOB)
    path = f"/directory/list/room/{room_id}"
    assert world.ok("GET", path) == {"visibility": "private"}
    assert refused(world.call("PUT", path, BOB)) == (403, "M_FORBIDDEN")
    assert world.ok("PUT", path, ALICE) == {}
    assert world.ok("GET", path) == {"visibility": "public"}
    assert world.ok("PUT", path, ADMIN, {"visibility": "private"}) == {}
    assert world.ok("GET", path) == {"visibility": "private"}
    assert refused(world.call("PUT", path, ALICE, {"visibility": "x"})) == (400, "M_INVALID_PARAM")
    for user, method in ((None, "GET"), (ALICE, "PUT")):
        assert refused(world.call(method, "/directory/list/room/!no:hs1", user)) == (404, "M_NOT_FOUND")
    assert refused(world.call("GET", "/directory/list/room/room")) == (400, "M_INVALID_PARAM")


def test_the_directory_is_read_in_pages_with_and_without_a_filter() -> None:
    world = RoomsWorld()
    rooms = sorted(world.make(visibility="public", name=f"Pub {number}") for number in range(3))
    page = world.ok("GET", "/publicRooms?limit=2")
    assert [entry["room_id"] for entry in page["chunk"]] == rooms[:2]
    assert page["total_room_count_estimate"] == 3
    rest = world.ok("GET", f"/publicRooms?limit=2&since={page['next_batch']}", ALICE)
    assert [entry["room_id"] for entry in rest["chunk"]] == rooms[2:]
    body = {"limit": 10, "filter": {"generic_search_term": "pub 1", "room_types": [None]}}
    assert len(world.ok("POST", "/publicRooms", ALICE, body)["chunk"]) == 1
    body = {"filter": None, "since": None, "limit": None}  # type: ignore[dict-item]
    assert len(world.ok("POST", "/publicRooms", ALICE, body)["chunk"]) == 3


def test_another_servers_directory_is_asked_for_there() -> None:
    world = RoomsWorld()
    assert world.ok("GET", "/publicRooms?server=hs2&limit=3") == {"chunk": []}
    assert world.elsewhere.asked == [("public_rooms", ("hs2", {"limit": 3}))]
    assert refused(world.call("GET", "/publicRooms?server=not%20one")) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("errcode", "body"),
    [
        ("M_INVALID_PARAM", {"limit": "2"}),
        ("M_INVALID_PARAM", {"limit": -1}),
        ("M_INVALID_PARAM", {"since": "x"}),
        ("M_INVALID_PARAM", {"since": 1}),
        ("M_INVALID_PARAM", {"filter": []}),
        ("M_INVALID_PARAM", {"filter": {"generic_search_term": 1}}),
        ("M_INVALID_PARAM", {"filter": {"room_types": [1]}}),
        ("M_BAD_JSON", []),
    ],
)
def test_a_search_of_the_wrong_shape_is_refused(errcode: str, body: Any) -> None:
    world = RoomsWorld()
    assert refused(world.call("POST", "/publicRooms", ALICE, body)) == (400, errcode)


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "since=x", "since="])
def test_a_query_of_the_wrong_shape_is_refused(query: str) -> None:
    world = RoomsWorld()
    assert refused(world.call("GET", f"/publicRooms?{query}")) == (400, "M_INVALID_PARAM")


def test_what_changes_something_needs_an_account() -> None:
    world = RoomsWorld()
    room_id = world.make()
    for method, path in (
        ("PUT", PUB),
        ("DELETE", PUB),
        ("PUT", f"/directory/list/room/{room_id}"),
        ("POST", "/publicRooms"),
    ):
        assert refused(world.call(method, path)) == (401, "M_MISSING_TOKEN")
        assert refused(world.call(method, path, GUEST)) == (403, "M_GUEST_ACCESS_FORBIDDEN")
