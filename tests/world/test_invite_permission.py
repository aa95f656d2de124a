"""Users who take no invites, over the client API and federation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.world import Client, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2", rate_limits__enabled=False)
    yield world
    world.stop()


def block(user: Client, action: Any = "block") -> None:
    content = {} if action is None else {"default_action": action}
    user.put(f"/user/{quote(user.user_id)}/account_data/m.invite_permission_config", content)


def ways(host: Client, user: Client) -> list[tuple[int, str | None]]:
    """How each way of inviting the user is answered."""
    answers = []
    room_id = host.create_room()
    target = {"user_id": user.user_id}
    answers.append(host.request("POST", f"/rooms/{quote(room_id)}/invite", json=target))
    room_id = host.create_room()
    path = f"/rooms/{quote(room_id)}/state/m.room.member/{quote(user.user_id)}"
    answers.append(host.request("PUT", path, json={"membership": "invite"}))
    answers.append(host.request("POST", "/createRoom", json={"invite": [user.user_id]}))
    return [(answer.status, answer.errcode if answer.status != 200 else None) for answer in answers]


@pytest.mark.parametrize("where", ["hs1", "hs2"])
def test_who_blocks_invites_gets_none_by_any_way(world: World, where: str) -> None:
    host, user = world["hs1"].user("host"), world[where].user("user")
    assert ways(host, user) == [(200, None)] * 3
    block(user)
    assert ways(host, user) == [(403, "M_INVITE_BLOCKED")] * 3
    for unsupported in (None, "later", 5):
        block(user, unsupported)
        assert ways(host, user) == [(200, None)] * 3


def test_invites_from_before_are_not_shown_while_invites_are_blocked(world: World) -> None:
    host, user = world["hs1"].user("host"), world["hs2"].user("user")
    room_id = host.create_room()
    host.post(f"/rooms/{quote(room_id)}/invite", {"user_id": user.user_id})
    block(user)
    assert "invite" not in user.sync().get("rooms", {})
    user.since = None
    block(user, None)
    assert room_id in user.sync()["rooms"]["invite"]


def test_knocking_and_joining_go_on_while_invites_are_blocked(world: World) -> None:
    host, user = world["hs1"].user("host"), world["hs2"].user("user")
    block(user)
    user.join(host.create_room(), "hs1")
