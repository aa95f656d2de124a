"""The rooms that two users are in."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from minihs.http.client_api import mutual_rooms
from tests.support.world import Client, World


def ask(user: Client, other: str, **query: Any) -> Any:
    path = "/_matrix/client/v1/mutual_rooms"
    return user.request("GET", path, query={"user_id": other, **query})


def test_rooms_that_both_are_joined_to_are_listed_also_with_users_of_other_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("hs1", "hs2", rate_limits__enabled=False)
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    rooms = [alice.create_room() for _ in range(4)]
    for room_id in rooms[:3]:
        bob.join(room_id, "hs1")
    alice.post(f"/rooms/{quote(rooms[3])}/invite", {"user_id": bob.user_id})
    world.advance(500)
    assert ask(alice, bob.user_id).json == {"joined": sorted(rooms[:3]), "count": 3}
    bob.leave(rooms[0])
    world.advance(500)
    for user, other in ((alice, bob), (bob, alice)):
        assert ask(user, other.user_id).json == {"joined": sorted(rooms[1:3]), "count": 2}
    monkeypatch.setattr(mutual_rooms, "PAGE", 1)
    first = ask(alice, bob.user_id).json
    second = ask(alice, bob.user_id, **{"from": first["next_batch"]}).json
    assert [*first["joined"], *second["joined"]] == sorted(rooms[1:3])
    assert (first["count"], second["count"]) == (2, 2)
    assert "next_batch" not in second
    world.stop()


def test_questions_about_oneself_and_about_nobody() -> None:
    world = World("hs1")
    alice = world["hs1"].user("alice")
    assert ask(alice, "@nobody:hs9").json == {"joined": [], "count": 0}
    for other, query in ((alice.user_id, {}), ("alice", {}), ("@a:hs9", {"from": "nonsense"})):
        refused = ask(alice, other, **query)
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
    world.stop()
