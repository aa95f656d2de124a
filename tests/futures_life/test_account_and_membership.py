"""What becomes of a future when its sender's membership or account changes before its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.futures_life.owners import (
    act,
    act_unstable,
    deactivate,
    error_of,
    finalised,
    merged,
    query,
    running,
    text,
    tokens,
)
from tests.support.world import Client, World


class Scene:
    """A room of alice's with bob in it, who has one future in each of three dialects, due in 10 s."""

    def __init__(self) -> None:
        self.world = World("hs1")
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs1"].user("bob")
        self.room_id = self.alice.create_room()
        self.bob.join(self.room_id)
        self.merged = merged(self.bob, self.room_id, 10_000, text("merged"))
        self.query = query(self.bob, self.room_id, 10_000, text("query"))
        self.tokens = tokens(self.bob, self.room_id, 10_000, text("tokens"))

    def change(self, **standing: bool) -> None:
        """Lock or suspend bob, or undo it."""
        users = self.world["hs1"].parts.users
        for name, value in standing.items():
            self.world.run(getattr(users, f"set_{name}")(self.bob.user_id, value))

    def come_due(self) -> list[str]:
        self.world.advance(11_000)
        return self.alice.bodies(self.room_id)

    def errors(self) -> list[str]:
        return [error_of(self.bob, delay_id) for delay_id in (self.merged, self.query)]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.world.stop()


ALL = ["merged", "query", "tokens"]


def leaves(scene: Scene) -> None:
    scene.bob.leave(scene.room_id)


def is_kicked(scene: Scene) -> None:
    scene.alice.post(f"/rooms/{scene.room_id}/kick", {"user_id": scene.bob.user_id})


def is_banned(scene: Scene) -> None:
    scene.alice.post(f"/rooms/{scene.room_id}/ban", {"user_id": scene.bob.user_id})


@pytest.mark.parametrize("goes", [leaves, is_kicked, is_banned], ids=lambda goes: goes.__name__)
def test_whoever_is_not_in_the_room_any_more_sends_nothing(
    scene: Scene, goes: Callable[[Scene], None]
) -> None:
    goes(scene)
    assert finalised(scene.bob, scene.merged) is None, "only the moment of sending counts"
    refused = act(scene.bob, scene.merged, "send")
    assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
    assert "auth rule v12 6" in refused.json["error"]
    assert scene.come_due() == []
    assert scene.errors() == ["M_FORBIDDEN"] * 2
    assert running(scene.bob) == []


@pytest.mark.parametrize("goes", [leaves, is_kicked], ids=lambda goes: goes.__name__)
def test_whoever_is_back_in_time_sends(scene: Scene, goes: Callable[[Scene], None]) -> None:
    goes(scene)
    scene.bob.join(scene.room_id)
    assert scene.come_due() == ALL


def test_deactivation_cancels_in_every_dialect(scene: Scene) -> None:
    deactivate(scene.bob)
    assert scene.come_due() == []
    assert act_unstable(scene.world, "hs1", scene.query, "send").status == 404
    token = scene.tokens["refresh_token"]
    gone = scene.world["hs1"].driver.request("POST", f"/_matrix/client/v1/future/{token}", json={})
    assert gone.status == 410


def test_a_last_will_outlives_the_session(scene: Scene) -> None:
    scene.bob.post("/logout/all")
    assert scene.come_due() == ALL


def test_who_is_logged_out_still_manages_by_what_needs_no_access_token(scene: Scene) -> None:
    scene.bob.post("/logout/all")
    assert act(scene.bob, scene.merged, "restart").status == 401
    scene.world.advance(8_000)
    assert act_unstable(scene.world, "hs1", scene.query, "restart").status == 200
    token = scene.tokens["refresh_token"]
    path = f"/_matrix/client/v1/future/{token}"
    assert scene.world["hs1"].driver.request("POST", path, json={}).status == 200
    assert scene.come_due() == ["merged", "query", "tokens"]
    assert scene.world.now_ms >= 18_000


@pytest.mark.parametrize(
    ("standing", "errcode"), [("locked", "M_USER_LOCKED"), ("suspended", "M_USER_SUSPENDED")]
)
def test_a_restricted_account_sends_nothing_meanwhile(scene: Scene, standing: str, errcode: str) -> None:
    scene.change(**{standing: True})
    assert scene.come_due() == []
    scene.change(**{standing: False})
    assert scene.errors() == [errcode] * 2


@pytest.mark.parametrize("standing", ["locked", "suspended"])
def test_an_account_that_is_free_again_in_time_sends(scene: Scene, standing: str) -> None:
    scene.change(**{standing: True})
    scene.world.advance(5_000)
    scene.change(**{standing: False})
    assert scene.come_due() == ALL


def guest(world: World) -> Client:
    """A guest of hs1."""
    made = world["hs1"].driver.request("POST", "/_matrix/client/v3/register?kind=guest", json={})
    somebody = world.person("guest", "hs1")
    somebody.user_id, somebody.token = made.json["user_id"], made.json["access_token"]
    return somebody  # type: ignore[return-value]


@pytest.mark.parametrize("may_stay", [True, False])
def test_a_guest_sends_while_guests_may_be_in_the_room(may_stay: bool) -> None:
    world = World("hs1")
    alice, visitor = world["hs1"].user("alice"), guest(world)
    open_door: dict[str, Any] = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    room_id = alice.create_room(initial_state=[{**open_door, "state_key": ""}])
    visitor.join(room_id)
    delay_id = merged(visitor, room_id, 5_000)
    if not may_stay:
        alice.set_state(room_id, "m.room.guest_access", {"guest_access": "forbidden"})
    world.advance(6_000)
    assert alice.bodies(room_id) == (["later"] if may_stay else [])
    if not may_stay:
        assert error_of(visitor, delay_id) == "M_FORBIDDEN"
    world.stop()
