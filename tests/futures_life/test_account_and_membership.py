"""What becomes of a future, in each dialect, when its sender's membership or account changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minihs.futures.model import Failed, Sent
from minihs.store.writer import Batch
from tests.futures_life.owners import deactivate, error_of, guest, merged, text
from tests.futures_life.ways import Scene, Way, each_way, scene
from tests.support.world import World

__all__ = ["scene"]


def leaves(scene: Scene) -> None:
    scene.bob.leave(scene.room_id)


def is_kicked(scene: Scene) -> None:
    scene.alice.post(f"/rooms/{scene.room_id}/kick", {"user_id": scene.bob.user_id})


def is_banned(scene: Scene) -> None:
    scene.alice.post(f"/rooms/{scene.room_id}/ban", {"user_id": scene.bob.user_id})


def is_banned_and_pardoned(scene: Scene) -> None:
    is_banned(scene)
    scene.alice.post(f"/rooms/{scene.room_id}/unban", {"user_id": scene.bob.user_id})


def named(value: Any) -> str:
    return str(getattr(value, "__name__", value))


@pytest.mark.parametrize("goes", [leaves, is_kicked, is_banned], ids=named)
@each_way
def test_whoever_is_not_in_the_room_any_more_sends_nothing(
    way: Way, scene: Scene, goes: Callable[[Scene], None]
) -> None:
    future = way.schedule(scene.bob, scene.room_id, 10_000, text())
    goes(scene)
    assert scene.told() == [], "only the moment of sending counts"
    refused = way.send(scene.bob, future)
    assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
    assert "auth rule v12 6" in refused.json["error"]
    scene.world.advance(11_000)
    assert scene.late() == []
    assert scene.told() == ["M_FORBIDDEN"]
    assert way.send(scene.bob, future).status == way.unknown


@pytest.mark.parametrize("goes", [leaves, is_kicked, is_banned_and_pardoned], ids=named)
@each_way
def test_whoever_is_back_in_time_sends(way: Way, scene: Scene, goes: Callable[[Scene], None]) -> None:
    way.schedule(scene.bob, scene.room_id, 10_000, text())
    goes(scene)
    scene.bob.join(scene.room_id)
    scene.world.advance(11_000)
    assert scene.late() == ["late"]


@each_way
def test_deactivation_cancels(way: Way, scene: Scene) -> None:
    future = way.schedule(scene.bob, scene.room_id, 10_000, text())
    deactivate(scene.bob)
    assert set(scene.told()) == {"cancelled"}
    assert way.send(scene.bob, future, as_nobody=True).status == (401 if way.needs_session else way.unknown)
    scene.world.advance(11_000)
    assert scene.late() == []
    assert set(scene.told()) == {"cancelled"}


@each_way
def test_a_last_will_outlives_the_session(way: Way, scene: Scene) -> None:
    """Whoever is logged out still manages it by what needs no access token."""
    future = way.schedule(scene.bob, scene.room_id, 10_000, text())
    scene.bob.post("/logout/all")
    scene.world.advance(8_000)
    heartbeat = way.restart(scene.bob, future, as_nobody=True)
    assert heartbeat.status == (401 if way.needs_session else 200)
    scene.world.advance(3_000)
    assert scene.late() == (["late"] if way.needs_session else [])
    scene.world.advance(8_000)
    assert scene.late() == ["late"]


def set_standing(scene: Scene, standing: str, value: bool) -> None:
    users = scene.world["hs1"].parts.accounts.users
    scene.world.run(getattr(users, f"set_{standing}")(scene.bob.user_id, value))


@pytest.mark.parametrize(
    ("standing", "errcode"), [("locked", "M_USER_LOCKED"), ("suspended", "M_USER_SUSPENDED")]
)
@each_way
def test_a_restricted_account_sends_nothing(way: Way, scene: Scene, standing: str, errcode: str) -> None:
    way.schedule(scene.bob, scene.room_id, 10_000, text("never"))
    way.schedule(scene.bob, scene.room_id, 20_000, text("free again in time"))
    set_standing(scene, standing, True)
    scene.world.advance(11_000)
    assert scene.late() == []
    assert scene.told() == [errcode]
    set_standing(scene, standing, False)
    scene.world.advance(10_000)
    assert scene.late() == ["free again in time"]


@pytest.mark.parametrize("may_stay", [True, False])
@each_way
def test_a_guest_sends_while_guests_may_be_in_the_room(way: Way, scene: Scene, may_stay: bool) -> None:
    alice, visitor = scene.alice, guest(scene.world)
    alice.set_state(scene.room_id, "m.room.guest_access", {"guest_access": "can_join"})
    visitor.join(scene.room_id)
    managed = way.schedule(visitor, scene.room_id, 5_000, text("now"))
    assert way.restart(visitor, managed).status == 200
    assert way.send(visitor, managed).status == 200
    way.schedule(visitor, scene.room_id, 5_000, text())
    if not may_stay:
        alice.set_state(scene.room_id, "m.room.guest_access", {"guest_access": "forbidden"})
    scene.world.advance(6_000)
    assert scene.late() == (["now", "late"] if may_stay else ["now"])
    if not may_stay:
        assert scene.told(visitor)[-1] == "M_FORBIDDEN"


@pytest.mark.parametrize("guests", ["can_join", "forbidden"])
def test_a_guests_own_join_is_judged_as_a_guests_when_it_is_sent(guests: str) -> None:
    world = World("hs1")
    alice, visitor = world["hs1"].user("alice"), guest(world)
    room_id = alice.create_room()
    alice.set_state(room_id, "m.room.guest_access", {"guest_access": "can_join"})
    visitor.join(room_id)
    visitor.leave(room_id)
    back = {"membership": "join"}
    delay_id = merged(visitor, room_id, 5_000, back, type="m.room.member", state_key=visitor.user_id)
    alice.set_state(room_id, "m.room.guest_access", {"guest_access": guests})
    world.advance(6_000)
    membership = alice.state(room_id)["m.room.member", visitor.user_id]["content"]["membership"]
    if guests == "can_join":
        assert membership == "join"
    else:
        assert (membership, error_of(visitor, delay_id)) == ("leave", "M_FORBIDDEN")
    world.stop()


@pytest.mark.parametrize("deactivated", [True, False])
def test_what_outlived_its_account_is_not_sent(deactivated: bool) -> None:
    """A future that is stored while its owner is being deactivated."""
    world = World("hs1")
    server = world["hs1"]
    alice, bob = server.user("alice"), server.user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    delay_id = merged(bob, room_id, 1_000)
    if deactivated:
        batch = Batch()
        server.parts.accounts.users._store.deactivate(batch, bob.user_id, 0)
        server.parts.writer.submit(batch)
    world.advance(2_000)
    assert [event["type"] for event in alice.messages(room_id)].count("m.room.message") == 1 - deactivated
    explained = world.run(server.parts.futures_administration.one(delay_id))
    assert isinstance(explained.future.outcome, Failed if deactivated else Sent)
    world.stop()
