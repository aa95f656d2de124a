"""Space trees and summaries of rooms, over the client API of whole servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.federation.remote_rooms import QUICK_MS
from minihs.lab.memory_network import Link
from tests.support.world import Client, World


class Tree:
    """Alice of hs1 and Bob of hs2, and spaces of theirs."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2", rate_limits__enabled=False)
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")

    def space(self, owner: Client, *children: str, **body: Any) -> str:
        """A space with these children in this order."""
        space_id = owner.create_room(creation_content={"type": "m.space"}, **body)
        for place, child in enumerate(children):
            self.link(owner, space_id, child, order=f"{place:03}")
        return space_id

    def link(self, owner: Client, space_id: str, child: str, via: str | None = None, **content: Any) -> None:
        servers = [via or owner.server.name]
        owner.set_state(space_id, "m.space.child", {"via": servers, **content}, child)

    def page(self, user: Client, room_id: str, **query: Any) -> dict[str, Any]:
        reply: dict[str, Any] = user.get(f"/_matrix/client/v1/rooms/{quote(room_id)}/hierarchy", query=query)
        return reply

    def walk(self, user: Client, room_id: str, **query: Any) -> list[str]:
        return [room["room_id"] for room in self.page(user, room_id, **query)["rooms"]]

    def refusal(self, user: Client, room_id: str, **query: Any) -> tuple[int, str | None]:
        reply = user.request("GET", f"/_matrix/client/v1/rooms/{quote(room_id)}/hierarchy", query=query)
        return reply.status, reply.errcode

    def summary(self, user: Client, room: str, *via: str, as_nobody: bool = False) -> Any:
        path = f"/_matrix/client/v1/room_summary/{quote(room)}"
        return user.request("GET", path, query=[("via", name) for name in via], as_nobody=as_nobody)


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.world.stop()


def test_the_tree_is_walked_depth_first_in_the_order_of_each_space(tree: Tree) -> None:
    alice = tree.alice
    rooms = [alice.create_room(name=name) for name in "abcd"]
    inner = tree.space(alice, rooms[1], rooms[2], name="inner")
    outer = tree.space(alice, rooms[0], inner, rooms[3], name="outer")
    page = tree.page(alice, outer)
    assert [room["name"] for room in page["rooms"]] == ["outer", "a", "inner", "b", "c", "d"]
    assert "next_batch" not in page
    assert [event["state_key"] for event in page["rooms"][2]["children_state"]] == rooms[1:3]
    assert page["rooms"][1]["children_state"] == []
    assert page["rooms"][0]["room_type"] == "m.space"
    assert page["rooms"][0]["room_version"] == "12"


def test_max_depth_ends_the_walk_and_a_room_found_nearer_is_opened_again(tree: Tree) -> None:
    alice = tree.alice
    leaf = alice.create_room()
    shared = tree.space(alice, leaf)
    far = tree.space(alice, shared)
    outer = tree.space(alice, far, shared)
    assert tree.walk(alice, outer, max_depth=0) == [outer]
    assert tree.walk(alice, outer, max_depth=1) == [outer, far, shared]
    assert tree.walk(alice, outer, max_depth=2) == [outer, far, shared, leaf]


def test_a_loop_of_spaces_ends(tree: Tree) -> None:
    alice = tree.alice
    first, second = tree.space(alice), tree.space(alice)
    tree.link(alice, first, second)
    tree.link(alice, second, first)
    tree.link(alice, second, second)
    assert tree.walk(alice, first) == [first, second]


def test_pages_follow_one_another_and_a_token_can_be_used_again(tree: Tree) -> None:
    alice = tree.alice
    rooms = [alice.create_room() for _ in range(5)]
    outer = tree.space(alice, *rooms)
    first = tree.page(alice, outer, limit=2)
    second = tree.page(alice, outer, limit=2, **{"from": first["next_batch"]})
    again = tree.page(alice, outer, limit=4, **{"from": first["next_batch"]})
    third = tree.page(alice, outer, limit=2, **{"from": second["next_batch"]})
    shown = [room["room_id"] for page in (first, second, third) for room in page["rooms"]]
    assert shown == [outer, *rooms]
    assert [room["room_id"] for room in again["rooms"]] == rooms[1:]
    assert "next_batch" not in third
    assert "next_batch" not in again


def test_a_token_is_good_for_its_own_question_only(tree: Tree) -> None:
    alice, other = tree.alice, tree.world["hs1"].user("other")
    outer = tree.space(alice, alice.create_room(), alice.create_room())
    token = tree.page(alice, outer, limit=1, max_depth=3)["next_batch"]
    good = {"from": token, "max_depth": 3}
    assert tree.refusal(other, outer, **good) == (400, "M_INVALID_PARAM")
    assert tree.refusal(alice, alice.create_room(), **good) == (400, "M_INVALID_PARAM")
    assert tree.refusal(alice, outer, **{**good, "max_depth": 4}) == (400, "M_INVALID_PARAM")
    assert tree.refusal(alice, outer, **good, suggested_only="true") == (400, "M_INVALID_PARAM")
    assert tree.refusal(alice, outer, **{"from": "unknown", "max_depth": 3}) == (400, "M_INVALID_PARAM")
    assert len(tree.page(alice, outer, **good)["rooms"]) == 2
    tree.world.advance(minutes=11)
    assert tree.refusal(alice, outer, **good) == (400, "M_INVALID_PARAM")


def test_only_suggested_rooms_are_shown_when_those_are_wanted(tree: Tree) -> None:
    alice = tree.alice
    yes, no = alice.create_room(), alice.create_room()
    outer = tree.space(alice, no)
    tree.link(alice, outer, yes, suggested=True)
    page = tree.page(alice, outer, suggested_only="true")
    assert [room["room_id"] for room in page["rooms"]] == [outer, yes]
    assert [event["state_key"] for event in page["rooms"][0]["children_state"]] == [yes]


def test_a_user_is_shown_the_rooms_that_they_are_in_or_could_get_into(tree: Tree) -> None:
    alice, other = tree.alice, tree.world["hs1"].user("other")
    club = alice.create_room()

    def room(rule: str, **more: Any) -> str:
        content = {"join_rule": rule, **more}
        return alice.create_room(initial_state=[{"type": "m.room.join_rules", "content": content}])

    private, knock, open_room = room("invite"), room("knock"), room("public")
    restricted = room("restricted", allow=[{"type": "m.room_membership", "room_id": club}])
    readable = alice.create_room(
        preset="private_chat",
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
        ],
    )
    outer = tree.space(alice, private, knock, open_room, restricted, readable)
    assert tree.walk(other, outer) == [outer, knock, open_room, readable]
    other.join(club)
    assert tree.walk(other, outer) == [outer, knock, open_room, restricted, readable]
    alice.post(f"/rooms/{quote(private)}/invite", {"user_id": other.user_id})
    alice.post(f"/rooms/{quote(open_room)}/ban", {"user_id": other.user_id})
    assert tree.walk(other, outer) == [outer, private, knock, restricted, readable]
    alice.post(f"/rooms/{quote(outer)}/ban", {"user_id": other.user_id})
    assert tree.refusal(other, outer) == (403, "M_FORBIDDEN")
    assert tree.refusal(other, "!nowhere:hs1") == (403, "M_FORBIDDEN")


def test_a_space_of_another_server_is_walked_through_via(tree: Tree) -> None:
    alice, bob = tree.alice, tree.bob
    deep, secret = bob.create_room(name="deep"), bob.create_room(preset="private_chat", name="secret")
    inner = tree.space(bob, deep, secret, name="inner")
    away = tree.space(bob, inner, bob.create_room(name="beside"), name="away")
    outer = tree.space(alice, name="outer")
    tree.link(alice, outer, away, via="hs2")
    names = [room["name"] for room in tree.page(alice, outer)["rooms"]]
    assert names == ["outer", "away", "inner", "deep", "beside"]
    alone = tree.world["hs1"].user("alone")
    bob.post(f"/rooms/{quote(secret)}/invite", {"user_id": alone.user_id})
    names = [room["name"] for room in tree.page(alone, outer)["rooms"]]
    # What hs2 answered before the invite is kept for a while.
    assert names == ["outer", "away", "inner", "deep", "beside"]
    tree.world.advance(minutes=6)
    names = [room["name"] for room in tree.page(alone, outer)["rooms"]]
    assert names == ["outer", "away", "inner", "deep", "secret", "beside"]
    assert [room["name"] for room in tree.page(alice, outer)["rooms"]] == names[:4] + names[5:]


def test_what_our_own_server_knows_of_a_room_counts_more_than_what_others_say(tree: Tree) -> None:
    alice, bob = tree.alice, tree.bob
    shared = bob.create_room(name="old")
    alice.join(shared, "hs2")
    away = tree.space(bob, shared)
    outer = tree.space(alice)
    tree.link(alice, outer, away, via="hs2")
    assert tree.page(alice, outer)["rooms"][2]["name"] == "old"
    bob.set_state(shared, "m.room.name", {"name": "new"})
    tree.world.advance(500)
    assert tree.page(alice, outer)["rooms"][2]["name"] == "new"


def test_children_of_a_server_that_is_away_are_left_out(tree: Tree) -> None:
    alice, bob = tree.alice, tree.bob
    here, away = alice.create_room(), bob.create_room()
    outer = tree.space(alice)
    tree.link(alice, outer, away, via="hs2", order="a")
    tree.link(alice, outer, here, order="b")
    one, other = (tree.world[name].host.address for name in ("hs1", "hs2"))
    tree.world.network.set_link(one, other, Link.REFUSING)
    assert tree.walk(alice, outer) == [outer, here]
    tree.world.network.set_link(one, other, Link.UP)
    tree.world.advance(minutes=6)
    assert tree.walk(alice, outer) == [outer, away, here]


def test_servers_that_say_nothing_are_waited_for_side_by_side(tree: Tree) -> None:
    alice, world = tree.alice, tree.world
    outer = tree.space(alice)
    names = ["hs3", "hs4", "hs5"]
    for name in names:
        world.add(name)
        away = world[name].user(f"owner-{name}").create_room()
        tree.link(alice, outer, away, via=name, order=name)
        hosts = (world[each].host.address for each in ("hs1", name))
        world.network.set_link(*hosts, Link.SILENT)
    here = alice.create_room()
    tree.link(alice, outer, here, order="last")
    began_ms = world.clock.monotonic_ms()
    assert tree.walk(alice, outer) == [outer, here]
    assert world.clock.monotonic_ms() - began_ms < 2 * QUICK_MS


def test_a_room_is_summed_up_by_id_and_alias_here_and_elsewhere(tree: Tree) -> None:
    alice, bob = tree.alice, tree.bob
    room_id = bob.create_room(name="Tea", room_alias_name="tea")
    for user, named, via in (
        (bob, room_id, ()),
        (bob, "#tea:hs2", ()),
        (alice, room_id, ("hs2",)),
        (alice, "#tea:hs2", ()),
    ):
        reply = tree.summary(user, named, *via)
        assert reply.status == 200, reply.json
        membership = {"membership": "join"} if user is bob else {}
        assert reply.json == {
            "room_id": room_id,
            "name": "Tea",
            "num_joined_members": 1,
            "world_readable": False,
            "guest_can_join": False,
            "join_rule": "public",
            "canonical_alias": "#tea:hs2",
            "room_version": "12",
            **membership,
        }
    unknown = tree.summary(alice, room_id)
    assert (unknown.status, unknown.errcode) == (404, "M_NOT_FOUND")


def test_a_closed_room_is_summed_up_for_those_who_are_invited_only(tree: Tree) -> None:
    alice, bob = tree.alice, tree.bob
    room_id = bob.create_room(preset="private_chat")
    hidden = tree.summary(alice, room_id, "hs2")
    assert (hidden.status, hidden.errcode) == (404, "M_NOT_FOUND")
    bob.post(f"/rooms/{quote(room_id)}/invite", {"user_id": alice.user_id})
    tree.world.advance(minutes=2)
    summed = tree.summary(alice, room_id)
    assert (summed.json["room_id"], summed.json["membership"]) == (room_id, "invite")


def test_without_an_account_open_rooms_of_this_server_are_summed_up(tree: Tree) -> None:
    alice, bob = tree.alice, tree.bob
    room_id, elsewhere = alice.create_room(), bob.create_room()
    private = alice.create_room(preset="private_chat")
    summed = tree.summary(alice, room_id, as_nobody=True)
    assert (summed.status, summed.json["room_id"]) == (200, room_id)
    assert "membership" not in summed.json
    for hidden in (private, elsewhere):
        refused = tree.summary(alice, hidden, "hs2", as_nobody=True)
        assert (refused.status, refused.errcode) == (404, "M_NOT_FOUND")
