"""Upgrades of rooms over the client API, and what of its users' own goes along on both servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.homeserver.room_actions import upgrade as upgrading
from tests.support.world import Client, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2", rate_limits__enabled=False)
    yield world
    world.stop()


def upgrade(user: Client, room_id: str, version: str = "12", **more: Any) -> str:
    reply = user.post(f"/rooms/{quote(room_id)}/upgrade", {"new_version": version, **more})
    user.world.advance(500)
    return str(reply["replacement_room"])


def content(user: Client, room_id: str, event_type: str, state_key: str = "") -> Any:
    event = user.state(room_id).get((event_type, state_key))
    return None if event is None else event["content"]


def own(user: Client, path: str) -> Any:
    reply = user.request("GET", f"/user/{quote(user.user_id)}{path}")
    return reply.json if reply.status == 200 else None


def test_the_successor_is_what_the_old_room_was_and_the_old_one_is_quiet(world: World) -> None:
    alice = world["hs1"].user("alice")
    carried = {
        "m.room.name": {"name": "Den"},
        "m.room.topic": {"topic": "Dens"},
        "m.room.avatar": {"url": "mxc://hs1/x"},
        "m.room.server_acl": {"allow": ["*"], "deny": ["evil"]},
        "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
        "m.room.guest_access": {"guest_access": "can_join"},
        "m.room.history_visibility": {"history_visibility": "invited"},
        "m.room.join_rules": {"join_rule": "knock"},
    }
    old = alice.create_room(
        room_version="11",
        room_alias_name="den",
        visibility="public",
        creation_content={"type": "org.example.den"},
        initial_state=[{"type": kind, "content": value} for kind, value in carried.items()],
    )
    alice.set_power(old, users={"@carol:hs1": 50}, events={"org.example": 7})
    alice.set_state(old, "org.example.mine", {"a": 1})
    new = upgrade(alice, old)
    for kind, value in carried.items():
        assert content(alice, new, kind) == value, kind
    create = content(alice, new, "m.room.create")
    assert create["type"] == "org.example.den"
    assert create["predecessor"]["room_id"] == old
    levels = content(alice, new, "m.room.power_levels")
    assert levels["users"] == {"@carol:hs1": 50}  # the creator of a room of version 12 stands above the list
    assert levels["events"]["org.example"] == 7
    assert content(alice, new, "org.example.mine") is None
    assert content(alice, new, "m.room.canonical_alias") == {"alias": "#den:hs1"}
    assert alice.get(f"/directory/room/{quote('#den:hs1')}")["room_id"] == new
    listed = alice.get("/publicRooms")["chunk"]
    assert [room["room_id"] for room in listed] == [new]
    assert content(alice, old, "m.room.tombstone")["replacement_room"] == new
    quiet = content(alice, old, "m.room.power_levels")
    assert (quiet["events_default"], quiet["invite"]) == (50, 50)


@pytest.mark.parametrize("at_once", [200, 2])
def test_who_was_banned_is_banned_from_the_successor(
    world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(upgrading, "BANS_AT_ONCE", at_once)
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    dave = world["hs2"].user("dave")
    old = alice.create_room(room_alias_name="den")
    others = [f"@troll{number}:hs1" for number in range(3)]
    for user_id in (*others, bob.user_id):
        alice.post(f"/rooms/{quote(old)}/ban", {"user_id": user_id, "reason": "noise"})
    new = upgrade(alice, old)
    for user_id in (*others, bob.user_id):
        assert content(alice, new, "m.room.member", user_id) == {"membership": "ban", "reason": "noise"}
    refused = bob.request("POST", f"/join/{quote('#den:hs1')}", json={})
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    dave.join("#den:hs1")


@pytest.mark.parametrize("at_once", [200, 1])
def test_bans_go_along_also_where_the_upgrader_could_not_have_made_them(
    world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(upgrading, "BANS_AT_ONCE", at_once)
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    old = alice.create_room(room_version="11")
    bob.join(old)
    for number in range(3):
        alice.post(f"/rooms/{quote(old)}/ban", {"user_id": f"@troll{number}:hs1"})
    alice.set_power(old, users={bob.user_id: 75}, events={"m.room.tombstone": 75}, ban=100)
    new = upgrade(bob, old, "11")
    assert content(bob, new, "m.room.member", "@troll2:hs1")["membership"] == "ban"
    levels = content(bob, new, "m.room.power_levels")
    assert (levels["ban"], levels["users"][bob.user_id]) == (100, 75)


def test_a_space_keeps_its_children(world: World) -> None:
    alice = world["hs1"].user("alice")
    old = alice.create_room(creation_content={"type": "m.space"})
    alice.set_state(old, "m.space.child", {"via": ["hs1"], "order": "a"}, "!a:hs1")
    alice.set_state(old, "m.space.child", {}, "!removed:hs1")
    new = upgrade(alice, old)
    assert content(alice, new, "m.space.child", "!a:hs1") == {"via": ["hs1"], "order": "a"}
    assert content(alice, new, "m.space.child", "!removed:hs1") is None


def test_additional_creators_are_those_that_the_request_names(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    old = alice.create_room(creation_content={"additional_creators": ["@former:hs1"]})
    new = upgrade(alice, old, additional_creators=[bob.user_id, alice.user_id])
    assert content(alice, new, "m.room.create")["additional_creators"] == [bob.user_id]
    bob.join(new, "hs1")
    world.advance(500)
    bob.set_state(new, "m.room.name", {"name": "by a creator"})
    newest = upgrade(alice, new, "11", additional_creators=["@former:hs1"])
    assert "additional_creators" not in content(alice, newest, "m.room.create")
    assert content(alice, newest, "m.room.power_levels")["users"][bob.user_id] >= 100


def test_who_may_not_set_a_tombstone_may_not_upgrade(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    old = alice.create_room()
    bob.join(old)
    for user_id, status in ((bob, 403), (alice, 200)):
        body = {"new_version": "12"}
        assert user_id.request("POST", f"/rooms/{quote(old)}/upgrade", json=body).status == status


class Owner:
    """A user with a tag, push rules and a direct chat in a room."""

    def __init__(self, user: Client, room_id: str) -> None:
        self.user = user
        user.put(f"/user/{quote(user.user_id)}/rooms/{quote(room_id)}/tags/m.favourite", {"order": 0.2})
        user.put(f"/user/{quote(user.user_id)}/account_data/m.direct", {"@friend:hs1": [room_id], "@x:y": []})
        user.put(f"/pushrules/global/room/{quote(room_id)}", {"actions": []})
        condition = {"kind": "event_match", "key": "room_id", "pattern": room_id}
        body = {"actions": ["notify"], "conditions": [condition]}
        user.put(f"/pushrules/global/override/{quote(room_id)}", body)
        user.put("/pushrules/global/underride/mine", {"actions": [], "conditions": []})

    def has_all_in(self, room_id: str) -> bool:
        tags = own(self.user, f"/rooms/{quote(room_id)}/tags")
        direct = own(self.user, "/account_data/m.direct")
        rules = self.user.get("/pushrules/")["global"]
        found = [
            (tags or {}).get("tags") == {"m.favourite": {"order": 0.2}},
            room_id in direct["@friend:hs1"],
            any(rule["rule_id"] == room_id and rule["actions"] == [] for rule in rules["room"]),
            any(
                rule["rule_id"] == room_id and rule["conditions"][0]["pattern"] == room_id
                for rule in rules["override"]
            ),
        ]
        assert all(found) == any(found), found
        return all(found)


def test_what_is_a_users_own_goes_along_when_they_join(world: World) -> None:
    alice, carol, bob = (
        world[name].user(who) for name, who in (("hs1", "alice"), ("hs1", "carol"), ("hs2", "bob"))
    )
    old = alice.create_room()
    for user in (carol, bob):
        user.join(old, "hs1")
    world.advance(500)
    owners = [Owner(user, old) for user in (alice, carol, bob)]
    new = upgrade(alice, old)
    assert [owner.has_all_in(new) for owner in owners] == [True, False, False]
    carol.join(new)
    bob.join(new, "hs1")
    world.advance(500)
    assert [owner.has_all_in(new) for owner in owners] == [True, True, True]
    assert [owner.has_all_in(old) for owner in owners] == [True, True, True]
    again = carol.get("/pushrules/")
    carol.leave(new)
    carol.join(new)
    world.advance(500)
    assert carol.get("/pushrules/") == again


def test_a_room_that_only_claims_a_predecessor_gets_nothing(world: World) -> None:
    alice, mallory = world["hs1"].user("alice"), world["hs2"].user("mallory")
    old = alice.create_room()
    owner = Owner(alice, old)
    claim = {"predecessor": {"room_id": old, "event_id": "$x"}}
    false = mallory.create_room(creation_content=claim)
    alice.join(false, "hs2")
    world.advance(500)
    assert not owner.has_all_in(false)
