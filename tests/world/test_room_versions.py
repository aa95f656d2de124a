"""Rooms of every version between whole servers: made, joined, used, redacted, upgraded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.ids import EventID, RoomID
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.homeserver.rooms.drafts import EventDraft
from tests.support.deferreds import run
from tests.support.world import Client, World

EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=list(ROOM_VERSIONS))


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2")
    yield world
    world.stop()


def ids(user: Client, room_id: str) -> dict[tuple[str, str], str]:
    return {key: event["event_id"] for key, event in user.state(room_id).items()}


def content(user: Client, room_id: str, event_type: str, state_key: str = "") -> dict[str, Any]:
    found: dict[str, Any] = user.state(room_id)[event_type, state_key]["content"]
    return found


def send_raw(world: World, user: Client, room_id: str, **fields: Any) -> str:
    """An event that the server makes without the checks that clients' requests go through."""
    rooms = user.server.server.parts.room_service.rooms
    draft = EventDraft(room_id=RoomID(room_id), sender=user.user_id, **fields)  # type: ignore[arg-type]
    return str(run(world.clock, rooms.send(draft)).event_id)


@EVERY_VERSION
def test_a_room_is_made_joined_used_and_redacted_on_both_servers(world: World, version: RoomVersion) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room(room_version=version.id, name="Versions")
    assert (":" in room_id) is not version.room_id_is_create_hash
    bob.join(room_id, "hs1")
    world.advance(200)
    said = []
    for user, body in ((alice, "one"), (bob, "two")):
        said.append(user.send(room_id, body))
        world.advance(200)
    assert alice.bodies(room_id) == bob.bodies(room_id) == ["one", "two"]
    assert ids(alice, room_id) == ids(bob, room_id)
    create = content(bob, room_id, "m.room.create")
    assert create["room_version"] == version.id
    assert create.get("creator") == (alice.user_id if version.creator_in_content else None)

    redaction = alice.put(f"/rooms/{quote(room_id)}/redact/{quote(said[1], safe='')}/t", {"reason": "r"})
    world.advance(200)
    for user in (alice, bob):
        redacted = user.get(f"/rooms/{quote(room_id)}/event/{quote(said[1], safe='')}")
        assert redacted["content"] == {}
        because = redacted["unsigned"]["redacted_because"]
        assert (because["event_id"], because["redacts"]) == (redaction["event_id"], said[1])
        assert because["content"] == {"reason": "r", "redacts": said[1]}
    rows = [
        run(world.clock, user.server.server.parts.room_service.rooms.row(EventID(redaction["event_id"])))
        for user in (alice, bob)
    ]
    for row in rows:
        assert ("redacts" in row.event.pdu) is not version.redacts_in_content

    # What the room says of itself survives its redaction, so the room goes on.
    name_id = ids(alice, room_id)["m.room.name", ""]
    for target in (ids(alice, room_id)["m.room.create", ""], name_id):
        alice.put(f"/rooms/{quote(room_id)}/redact/{quote(target, safe='')}/{quote(target, safe='')}", {})
    bob.send(room_id, "three")
    world.advance(200)
    assert alice.bodies(room_id)[-1] == "three"
    kept = content(bob, room_id, "m.room.create")
    assert kept == (
        create
        if version.redaction_keeps_whole_create
        else {key: create[key] for key in ("creator",) if key in create}
    )


@EVERY_VERSION
def test_invites_kicks_and_bans_hold_on_both_servers(world: World, version: RoomVersion) -> None:
    alice, bob, carol = (world[name].user(who) for name, who in (("hs1", "a"), ("hs2", "b"), ("hs2", "c")))
    room_id = alice.create_room(room_version=version.id, preset="private_chat")
    alice.post(f"/rooms/{quote(room_id)}/invite", {"user_id": bob.user_id})
    assert room_id in bob.sync()["rooms"]["invite"]
    bob.join(room_id)
    refused = carol.request("POST", f"/join/{quote(room_id)}?via=hs1", json={})
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    alice.post(f"/rooms/{quote(room_id)}/ban", {"user_id": bob.user_id})
    world.advance(200)
    refused = bob.request("POST", f"/join/{quote(room_id)}?via=hs1", json={})
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    alice.post(f"/rooms/{quote(room_id)}/unban", {"user_id": bob.user_id})
    alice.post(f"/rooms/{quote(room_id)}/invite", {"user_id": bob.user_id})
    bob.join(room_id)
    world.advance(200)
    bob.send(room_id, "back")
    world.advance(200)
    assert alice.bodies(room_id) == ["back"]
    assert ids(alice, room_id) == ids(bob, room_id)


@EVERY_VERSION
def test_knocks_and_restricted_joins_work_where_the_version_has_them(
    world: World, version: RoomVersion
) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    club = alice.create_room()
    bob.join(club, "hs1")
    world.advance(200)
    rules = {
        "knock": version.knocking,
        "restricted": version.restricted_joins,
        "knock_restricted": version.knock_restricted,
    }
    for rule, known in rules.items():
        condition = {"type": "m.room_membership", "room_id": club}
        rules_event = {
            "type": "m.room.join_rules",
            "content": {"join_rule": rule, "allow": [condition]},
        }
        room_id = alice.create_room(room_version=version.id, initial_state=[rules_event])
        if "restricted" in rule:
            joined = bob.request("POST", f"/join/{quote(room_id)}?via=hs1", json={})
            assert joined.status == (200 if known else 403), (rule, joined.body)
            if known:
                world.advance(200)
                via = content(alice, room_id, "m.room.member", bob.user_id)
                assert via["join_authorised_via_users_server"] == alice.user_id
                assert ids(alice, room_id) == ids(bob, room_id)
        if "knock" in rule:
            carol = world["hs2"].user(f"carol-{rule}")
            knocked = carol.request("POST", f"/knock/{quote(room_id)}?via=hs1", json={})
            assert (knocked.status == 200) is known, (rule, knocked.body)


@EVERY_VERSION
def test_power_levels_as_strings_count_until_version_9(world: World, version: RoomVersion) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room(room_version=version.id)
    bob.join(room_id, "hs1")
    users = {} if version.privileged_creators else {alice.user_id: "100"}
    levels: dict[str, Any] = {"users": {**users, bob.user_id: " 50 "}, "state_default": "50"}
    fields: dict[str, Any] = {"type": "m.room.power_levels", "state_key": "", "content": levels}
    if not version.string_power_levels:
        with pytest.raises(Exception, match=r"rule v12 10\.1"):
            send_raw(world, alice, room_id, **fields)
        return
    send_raw(world, alice, room_id, **fields)
    world.advance(200)
    bob.set_state(room_id, "m.room.topic", {"topic": "mine"})
    world.advance(200)
    assert content(alice, room_id, "m.room.topic") == {"topic": "mine"}
    assert ids(alice, room_id) == ids(bob, room_id)


@EVERY_VERSION
def test_aliases_events_are_special_until_version_5(world: World, version: RoomVersion) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room(room_version=version.id)
    bob.join(room_id, "hs1")
    path = f"/rooms/{quote(room_id)}/state/m.room.aliases/hs2"
    answer = bob.request("PUT", path, json={"aliases": ["#x:hs2"], "more": 1})
    assert answer.status == (200 if version.aliases_are_special else 403)
    if not version.aliases_are_special:
        return
    event_id = answer.json["event_id"]
    foreign = bob.request("PUT", f"/rooms/{quote(room_id)}/state/m.room.aliases/hs1", json={"aliases": []})
    assert (foreign.status, foreign.errcode) == (403, "M_FORBIDDEN")
    bob.put(f"/rooms/{quote(room_id)}/redact/{quote(event_id, safe='')}/t", {})
    world.advance(200)
    assert content(alice, room_id, "m.room.aliases", "hs2") == {"aliases": ["#x:hs2"]}


@EVERY_VERSION
def test_a_room_is_upgraded_and_members_of_another_server_follow(world: World, version: RoomVersion) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    old = alice.create_room(room_version=version.id, room_alias_name="den")
    bob.join(old, "hs1")
    new = alice.post(f"/rooms/{quote(old)}/upgrade", {"new_version": "12"})["replacement_room"]
    world.advance(500)
    assert content(bob, old, "m.room.tombstone")["replacement_room"] == new
    assert bob.post(f"/join/{quote('#den:hs1')}")["room_id"] == new
    world.advance(500)
    assert content(bob, new, "m.room.create")["predecessor"]["room_id"] == old
    assert ids(alice, new) == ids(bob, new)
    said = bob.request("PUT", f"/rooms/{quote(old)}/send/m.room.message/1", json={"body": "late"})
    assert (said.status, said.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["1", "2", "99"])
def test_other_versions_are_refused_with_a_sentence(world: World, version: str) -> None:
    alice = world["hs1"].user("alice")
    refused = alice.request("POST", "/createRoom", json={"room_version": version})
    assert (refused.status, refused.errcode) == (400, "M_UNSUPPORTED_ROOM_VERSION")
    assert ("senders choose the IDs" in refused.json["error"]) is (version != "99")
    assert "3, 4, 5, 6, 7, 8, 9, 10, 11, 12" in refused.json["error"]
