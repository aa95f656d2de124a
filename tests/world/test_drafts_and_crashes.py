"""The process dies around a commit of a draft's life; the client repeats itself; everything happens once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.lab.http_client import RequestFailed
from tests.support.world import Client, World

C = "/_matrix/client"
CRASHES = [(nth, after) for nth in (1, 2) for after in (False, True)]


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1")
    yield world
    world.stop()


def insist(user: Client, method: str, path: str, body: Any) -> Any:
    """Ask until there is an answer, from another process if need be."""
    for _ in range(3):
        try:
            return user.request(method, path, json=body)
        except RequestFailed:
            user.server.start()
    raise AssertionError("no answer")


def text(body: str) -> dict[str, Any]:
    return {"type": "m.room.message", "content": {"body": body}}


@pytest.mark.parametrize(("nth", "after"), CRASHES)
def test_a_batch(world: World, nth: int, after: bool) -> None:
    server = world["hs1"]
    alice = server.user("alice")
    room_id = alice.create_room()
    body = {
        "timeout": 5,
        "send_now": text("now"),
        "send_on_timeout": text("timeout"),
        "send_on_action": {"a": text("a")},
    }
    world.advance(1_000)
    server.crash_at_commit(nth, after=after)
    reply = insist(alice, "PUT", f"/rooms/{quote(room_id)}/send/future/t", body)
    assert alice.bodies(room_id) == ["now"]
    assert len(alice.get(f"{C}/v3/futures")) == 1
    token = {"future_token": reply.json["future_token"]}
    assert insist(alice, "POST", f"{C}/v3/futures/refresh", token).status == 200
    world.advance(10_000)
    if not server.up:
        server.start()
        world.advance(1_000)
    assert alice.bodies(room_id) == ["now", "timeout"]
    assert alice.get(f"{C}/v3/futures") == []


@pytest.mark.parametrize(("nth", "after"), CRASHES)
def test_an_action(world: World, nth: int, after: bool) -> None:
    server = world["hs1"]
    alice = server.user("alice")
    room_id = alice.create_room()
    body = {"timeout": 5, "send_on_timeout": text("timeout"), "send_on_action": {"a": text("a")}}
    token = alice.put(f"/rooms/{quote(room_id)}/send/future/t", body)["future_token"]
    world.advance(1_000)
    server.crash_at_commit(nth, after=after)
    status = insist(alice, "POST", f"{C}/v3/futures/action/a", {"future_token": token}).status
    assert status == (410 if (nth, after) == (1, True) else 200), (
        "done already, when only the answer was lost"
    )
    world.advance(10_000)
    if not server.up:
        server.start()
        world.advance(1_000)
    assert alice.bodies(room_id) == ["a"]


@pytest.mark.parametrize(("nth", "after"), CRASHES)
@pytest.mark.parametrize("end", ["expired", "ended"])
def test_an_event_that_will_expire(world: World, nth: int, after: bool, end: str) -> None:
    server = world["hs1"]
    alice = server.user("alice")
    room_id = alice.create_room()
    world.advance(1_000)
    server.crash_at_commit(nth, after=after)
    path = f"/rooms/{quote(room_id)}/send/m.room.message/t"
    reply = insist(alice, "PUT", path, {"body": "x", "m.will_expire": 5})
    if end == "ended":
        token = {"expire_refresh_token": reply.json["expire_refresh_token"]}
        assert insist(alice, "PUT", f"{C}/v3/expiration/end", token).status in (200, 410)
    world.advance(10_000)
    if not server.up:
        server.start()
        world.advance(1_000)
    words = [event["content"].get("m.will_expire") for event in alice.messages(room_id)]
    assert words[:2] == [end, "running"]
    assert words.count("running") == words.count(end) == 1


@pytest.mark.parametrize(("nth", "after"), CRASHES)
def test_newer_state(world: World, nth: int, after: bool) -> None:
    """The state event and the end of the batch are one commit."""
    server = world["hs1"]
    alice = server.user("alice")
    room_id = alice.create_room()
    call = {"type": "m.call.member", "state_key": "call", "content": {"n": 1}}
    body = {"timeout": 5, "send_now": call, "send_on_timeout": text("timeout")}
    token = alice.put(f"/rooms/{quote(room_id)}/send/future/t", body)["future_token"]
    world.advance(1_000)
    server.crash_at_commit(nth, after=after)
    newer = f"/rooms/{quote(room_id)}/state/m.call.member/call"
    assert insist(alice, "PUT", newer, {"n": 2}).status == 200
    assert insist(alice, "POST", f"{C}/v3/futures/refresh", {"future_token": token}).status == 410
    world.advance(10_000)
    if not server.up:
        server.start()
        world.advance(1_000)
    assert alice.bodies(room_id) == []
