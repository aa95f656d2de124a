"""The settings of experiments, each with all its values: what changes, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from minihs.config import InvalidSettings
from tests.futures_life.owners import (
    ENDED_BY_STATE,
    act,
    act_unstable,
    asking,
    error_of,
    finalised,
    guest,
    merged,
    query,
    text,
    tokens,
)
from tests.futures_life.ways import Way, each_way, scene_of
from tests.support.world import Client, World

SILENCE = {"events_default": 50}
MODERATED: dict[str, Any] = {"power_level_content_override": {"events_default": 50}}


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        world.stop()


def world_of(worlds: list[World], *names: str, **settings: Any) -> World:
    """A world whose servers have these settings of futures."""
    worlds.append(World(*names, **{f"futures__{name}": value for name, value in settings.items()}))
    return worlds[-1]


def members(world: World, *names: str, **room: Any) -> tuple[str, list[Client]]:
    """A room of the first of these users of hs1, with the others in it."""
    users = [world["hs1"].user(name) for name in names]
    room_id = users[0].create_room(**room)
    for user in users[1:]:
        user.join(room_id)
    return room_id, users


# Authorisation


@pytest.mark.parametrize(
    ("authorisation", "scheduled", "sent"),
    [("send", 200, True), ("schedule", 403, False), ("both", 403, False)],
)
def test_power_that_is_gained_after_scheduling(
    worlds: list[World], authorisation: str, scheduled: int, sent: bool
) -> None:
    world = world_of(worlds, "hs1", authorisation=authorisation)
    room_id, (alice, bob) = members(world, "alice", "bob", **MODERATED)
    reply = asking(bob, room_id, 1_000)
    assert reply.status == scheduled
    if scheduled == 403:
        assert reply.json["errcode"] == "M_FORBIDDEN"
        assert "auth rule v12 8" in reply.json["error"]
    alice.set_state(room_id, "m.room.power_levels", {"events_default": 0})
    world.advance(1_500)
    assert alice.bodies(room_id) == (["later"] if sent else [])


@pytest.mark.parametrize(("authorisation", "sent"), [("send", False), ("schedule", True), ("both", False)])
def test_power_that_is_lost_after_scheduling(worlds: list[World], authorisation: str, sent: bool) -> None:
    world = world_of(worlds, "hs1", authorisation=authorisation)
    room_id, (alice, bob) = members(world, "alice", "bob")
    delay_id = merged(bob, room_id, 1_000)
    alice.set_state(room_id, "m.room.power_levels", SILENCE)
    assert bob.request("PUT", f"/rooms/{room_id}/send/m.room.message/x", json=text("now")).status == 403
    world.advance(1_500)
    assert alice.bodies(room_id) == (["later"] if sent else [])
    if not sent:
        assert error_of(bob, delay_id) == "M_FORBIDDEN"


def test_other_servers_refuse_what_was_only_judged_when_it_was_scheduled(worlds: list[World]) -> None:
    world = world_of(worlds, "hs1", "hs2", authorisation="schedule")
    room_id, (alice, bob) = members(world, "alice", "bob")
    carol = world["hs2"].user("carol")
    carol.join(room_id, "hs1")
    merged(bob, room_id, 1_000)
    alice.set_state(room_id, "m.room.power_levels", SILENCE)
    world.advance(2_000)
    alice.send(room_id, "did you hear that?")
    world.advance(1_000)
    assert alice.bodies(room_id) == ["later", "did you hear that?"]
    assert carol.bodies(room_id) == ["did you hear that?"]


def test_a_member_event_is_judged_when_it_is_scheduled_too(worlds: list[World]) -> None:
    world = world_of(worlds, "hs1", authorisation="schedule")
    room_id, (alice, bob, carol) = members(world, "alice", "bob", "carol")
    kick = {"type": "m.room.member", "state_key": carol.user_id}
    assert asking(bob, room_id, 1_000, {"membership": "leave"}, **kick).status == 403
    assert asking(alice, room_id, 1_000, {"membership": "leave"}, **kick).status == 200
    world.advance(1_500)
    assert alice.state(room_id)["m.room.member", carol.user_id]["content"]["membership"] == "leave"


@pytest.mark.parametrize(("guest_access", "status"), [("can_join", 200), ("forbidden", 403)])
def test_that_guests_are_kept_out_is_a_matter_of_rights_at_scheduling_too(
    worlds: list[World], guest_access: str, status: int
) -> None:
    world = world_of(worlds, "hs1", authorisation="both")
    room_id, (alice,) = members(world, "alice")
    visitor = guest(world)
    alice.set_state(room_id, "m.room.guest_access", {"guest_access": "can_join"})
    visitor.join(room_id)
    visitor.leave(room_id)
    alice.set_state(room_id, "m.room.guest_access", {"guest_access": guest_access})
    back = {"membership": "join"}
    reply = asking(visitor, room_id, 1_000, back, type="m.room.member", state_key=visitor.user_id)
    assert reply.status == status, reply.json


def test_what_may_come_to_be_is_no_matter_of_rights_at_scheduling(worlds: list[World]) -> None:
    world = world_of(worlds, "hs1", authorisation="both")
    room_id, (alice,) = members(world, "alice")
    redaction = {"redacts": "$" + "x" * 43}
    delay_id = merged(alice, room_id, 1_000, redaction, type="m.room.redaction")
    world.advance(1_500)
    assert error_of(alice, delay_id) == "M_NOT_FOUND"


@pytest.mark.parametrize(("authorisation", "sent"), [("send", False), ("schedule", True), ("both", False)])
@each_way
def test_when_rights_are_judged_is_the_same_for_each_dialect(
    worlds: list[World], way: Way, authorisation: str, sent: bool
) -> None:
    scene = scene_of(way, authorisation=authorisation)
    worlds.append(scene.world)
    way.schedule(scene.bob, scene.room_id, 1_000, text())
    scene.alice.set_power(scene.room_id, events_default=50)
    scene.world.advance(1_500)
    assert scene.late() == (["late"] if sent else [])
    assert scene.told() == (["sent"] if sent else ["M_FORBIDDEN"])


def test_what_is_no_matter_of_the_auth_rules_is_decided_when_it_is_sent(worlds: list[World]) -> None:
    """With `schedule`: who has left still sends; who is locked, or redacts what is not there, does not."""
    world = world_of(worlds, "hs1", authorisation="schedule")
    room_id, (alice, bob, carol) = members(world, "alice", "bob", "carol")
    left = merged(bob, room_id, 1_000)
    nothing = merged(bob, room_id, 1_000, {"redacts": "$nothing"}, type="m.room.redaction")
    bob.leave(room_id)
    locked = merged(carol, room_id, 1_000)
    users = world["hs1"].parts.accounts.users
    world.run(users.set_locked(carol.user_id, True))
    world.advance(1_500)
    world.run(users.set_locked(carol.user_id, False))
    assert alice.bodies(room_id) == ["later"]
    outcome = finalised(bob, left)
    assert outcome is not None
    assert "event_id" in outcome
    assert error_of(bob, nothing) == "M_NOT_FOUND"
    assert error_of(carol, locked) == "M_USER_LOCKED"


# Cancel rule

RULES = {"never": "nobody", "other-sender": "others", "any": "anybody"}


@pytest.mark.parametrize("rule", ["dialect", *RULES])
@each_way
def test_which_newer_state_ends_a_future_in_each_dialect(worlds: list[World], way: Way, rule: str) -> None:
    scene = scene_of(way, cancel_rule=rule)
    worlds.append(scene.world)
    for key in ("own", "other"):
        way.schedule(scene.bob, scene.room_id, 5_000, {"future": True}, type="m.call", state_key=key)
    scene.bob.set_state(scene.room_id, "m.call", {"new": True}, "own")
    scene.alice.set_state(scene.room_id, "m.call", {"new": True}, "other")
    cancelled_by = RULES.get(rule, way.cancelled_by)
    ended = {"nobody": set(), "others": {"other"}, "anybody": {"own", "other"}}[cancelled_by]
    assert set(scene.told()) == ({ENDED_BY_STATE} if ended else set())
    scene.world.advance(6_000)
    for key in ("own", "other"):
        expected = {"new": True} if key in ended else {"future": True}
        assert scene.state_of("m.call", key) == expected, key


# Management


def test_with_capability_whoever_knows_the_id_may_manage_on_the_stable_path(worlds: list[World]) -> None:
    for management, allowed in (("owner", False), ("capability", True)):
        world = world_of(worlds, "hs1", management=management)
        room_id, (alice, bob) = members(world, "alice", "bob")
        by_bob, by_nobody = merged(alice, room_id, 60_000), merged(alice, room_id, 60_000)
        assert act(bob, by_bob, "cancel").status == (200 if allowed else 404)
        path = f"/_matrix/client/v1/delayed_events/{by_nobody}/cancel"
        assert world["hs1"].driver.request("POST", path, json={}).status == (200 if allowed else 401)
        assert (finalised(alice, by_bob) is not None) is allowed
        assert (finalised(alice, by_nobody) is not None) is allowed


def test_with_capability_somebody_elses_token_is_welcome_on_the_unstable_path(worlds: list[World]) -> None:
    for management, status in (("owner", 404), ("capability", 200)):
        world = world_of(worlds, "hs1", management=management)
        room_id, (alice, bob) = members(world, "alice", "bob")
        delay_id = query(alice, room_id, 60_000)
        assert act_unstable(world, "hs1", delay_id, "restart", bob.token).status == status
        assert act_unstable(world, "hs1", delay_id, "restart").status == 200


def test_with_capability_the_id_of_the_dialect_future_id_is_enough_too(worlds: list[World]) -> None:
    for management, statuses in (("owner", (410, 401)), ("capability", (200, 200))):
        world = world_of(worlds, "hs1", management=management, dialects=["future-id"])
        room_id, (alice, bob) = members(world, "alice", "bob")
        path = f"/rooms/{room_id}/send/m.room.message/1?future_timeout=60000"
        body = {"future_id": alice.put(path, text("later"))["future_id"], "action": "refresh"}
        update = "/_matrix/client/v1/update_future"
        assert bob.request("POST", update, json=body).status == statuses[0]
        assert world["hs1"].driver.request("POST", update, json=body).status == statuses[1]
        unknown = {**body, "future_id": body["future_id"][:-1]}
        assert bob.request("POST", update, json=unknown).status == 410


def test_with_capability_only_the_owner_reads_a_future_and_guessing_leads_nowhere(
    worlds: list[World],
) -> None:
    world = world_of(worlds, "hs1", management="capability")
    room_id, (alice, bob) = members(world, "alice", "bob")
    delay_id = merged(alice, room_id, 60_000)
    assert bob.request("GET", f"/_matrix/client/v1/delayed_events/{delay_id}").status == 404
    assert act(bob, delay_id[:-1], "cancel").status == 404
    assert finalised(alice, delay_id) is None


def test_capability_and_no_management_without_a_token_contradict_each_other(worlds: list[World]) -> None:
    with pytest.raises(InvalidSettings, match=r"futures\.management: .*unauthenticated_management"):
        world_of(worlds, "hs1", management="capability", unauthenticated_management=False)


# Overdue


@pytest.mark.parametrize(("overdue", "sent"), [("send", ["early", "late"]), ("fail", ["late"])])
def test_what_came_due_while_the_server_was_away(worlds: list[World], overdue: str, sent: list[str]) -> None:
    world = world_of(worlds, "hs1", overdue=overdue)
    room_id, (alice,) = members(world, "alice")
    missed = merged(alice, room_id, 1_000, text("early"))
    merged(alice, room_id, 60_000, text("late"))
    world["hs1"].crash()
    world.advance(30_000)
    world["hs1"].start()
    world.advance(40_000)
    assert alice.bodies(room_id) == sent
    outcome = finalised(alice, missed)
    assert outcome is not None
    if overdue == "fail":
        assert outcome["error"]["errcode"] == "ORG.MINIHS.OVERDUE"
        assert "event_id" not in outcome


@pytest.mark.parametrize(("overdue", "told"), [("send", "sent"), ("fail", "ORG.MINIHS.OVERDUE")])
@each_way
def test_what_is_overdue_is_treated_alike_in_each_dialect(
    worlds: list[World], way: Way, overdue: str, told: str
) -> None:
    scene = scene_of(way, overdue=overdue)
    worlds.append(scene.world)
    way.schedule(scene.bob, scene.room_id, 1_000, text())
    scene.world["hs1"].crash()
    scene.world.advance(30_000)
    scene.world["hs1"].start()
    scene.world.advance(1_000)
    assert scene.told() == [told]
    assert scene.late() == (["late"] if told == "sent" else [])


# What contradicts an outcome


@pytest.mark.parametrize(("unstable_conflict", "errcode"), [(404, "M_NOT_FOUND"), (409, "M_UNKNOWN")])
def test_what_contradicts_an_outcome_on_the_unstable_paths(
    worlds: list[World], unstable_conflict: int, errcode: str
) -> None:
    world = world_of(worlds, "hs1", unstable_conflict=unstable_conflict)
    room_id, (alice,) = members(world, "alice")
    delay_id = query(alice, room_id, 60_000)
    assert act_unstable(world, "hs1", delay_id, "cancel").status == 200
    for action, status in (("send", unstable_conflict), ("restart", unstable_conflict), ("cancel", 200)):
        reply = act_unstable(world, "hs1", delay_id, action)
        assert reply.status == status, action
        assert status == 200 or reply.json["errcode"] == errcode
    assert act(alice, delay_id, "send").status == 409, "the stable path says it as the accepted text does"


# Profiles


def test_two_servers_of_one_room_may_speak_different_drafts(worlds: list[World]) -> None:
    """Each refuses what the other speaks, and neither can tell how the other's events came to be."""
    worlds.append(World("hs1", futures__dialects=["merged"]))
    world = worlds[-1]
    world.add("hs2", futures__dialects=["tokens"])
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room()
    carol.join(room_id, "hs1")
    features = [user.get("/_matrix/client/versions")["unstable_features"] for user in (alice, carol)]
    assert ["org.matrix.msc4140.stable" in told for told in features] == [True, False]
    told = [user.get("/capabilities")["capabilities"] for user in (alice, carol)]
    assert ["m.delayed_events" in capabilities for capabilities in told] == [True, False]
    merged(alice, room_id, 1_000, text("merged"))
    tokens(carol, room_id, 2_000, text("tokens"))
    assert asking(carol, room_id, 1_000).json["errcode"] == "M_UNRECOGNIZED"
    path = f"/_matrix/client/v1/rooms/{room_id}/send_future/m.room.message/t?future_timeout=1000"
    assert alice.request("PUT", path, json=text("x")).json["errcode"] == "M_UNRECOGNIZED"
    for user in (alice, carol):
        send = f"/rooms/{room_id}/send/m.room.message/{user.txn()}"
        for parameter in ("delay", "org.matrix.msc4140.delay", "future_timeout", "parent_future_id"):
            refused = user.request("PUT", send, json=text("at once"), query={parameter: "1000"})
            assert (refused.status, refused.json["errcode"]) == (400, "M_INVALID_PARAM")
    world.advance(3_000)
    assert alice.bodies(room_id) == carol.bodies(room_id) == ["merged", "tokens"]


@pytest.mark.parametrize("name", ["authorisation", "cancel_rule", "management", "overdue"])
def test_a_variant_that_does_not_exist_is_refused(worlds: list[World], name: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"futures\.{name}: invalid enum value 'sometimes'"):
        world_of(worlds, "hs1", **{name: "sometimes"})
