"""The older drafts on whole servers: memberships, guests, other servers, and what the rooms of others see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.world import Client, World

C = "/_matrix/client"


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2")
    yield world
    world.stop()


def batch(user: Client, room_id: str, **body: Any) -> Any:
    return user.put(f"/rooms/{quote(room_id)}/send/future/t{next(user.txn_ids)}", {"timeout": 5, **body})


def membership(user_id: str, word: str, **content: Any) -> dict[str, Any]:
    return {"type": "m.room.member", "state_key": user_id, "content": {"membership": word, **content}}


def memberships(user: Client, room_id: str, of: str) -> list[str]:
    """The memberships that somebody has had, oldest first."""
    return [
        event["content"]["membership"]
        for event in reversed(user.messages(room_id))
        if event["type"] == "m.room.member" and event["state_key"] == of
    ]


def test_a_batch_invites_now_and_withdraws_on_timeout(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room(preset="private_chat")
    batch(
        alice,
        room_id,
        send_now=membership(bob.user_id, "invite"),
        send_on_timeout=membership(bob.user_id, "leave"),
    )
    assert memberships(alice, room_id, bob.user_id) == ["invite"]
    world.advance(6_000)
    assert memberships(alice, room_id, bob.user_id) == ["invite", "leave"]


def test_an_invite_that_is_accepted_is_not_withdrawn(world: World) -> None:
    """A batch whose `send_now` is a state event lives only while that is current."""
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room(preset="private_chat")
    batch(
        alice,
        room_id,
        send_now=membership(bob.user_id, "invite"),
        send_on_timeout=membership(bob.user_id, "leave"),
    )
    bob.join(room_id)
    world.advance(6_000)
    assert memberships(alice, room_id, bob.user_id) == ["invite", "join"]


def test_an_invite_that_another_server_signs_comes_with_its_batch(world: World) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room(preset="private_chat")
    reply = batch(
        alice,
        room_id,
        send_now=membership(carol.user_id, "invite"),
        send_on_timeout={"type": "m.room.message", "content": {"body": "was $m.send_now.event_id"}},
    )
    assert memberships(alice, room_id, carol.user_id) == ["invite"]
    world.advance(6_000)
    assert alice.bodies(room_id) == [f"was {reply['send_now']['event_id']}"]


def test_another_servers_newer_state_ends_a_batch(world: World) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room(power_level_content_override={"state_default": 0})
    carol.join(room_id, "hs1")
    call = {"type": "m.call.member", "state_key": "call", "content": {"n": 1}}
    reply = batch(
        alice,
        room_id,
        send_now=call,
        send_on_timeout={"type": "m.room.message", "content": {"body": "alice has left"}},
    )
    world.advance(1_000)
    carol.set_state(room_id, "m.call.member", {"n": 2}, "call")
    world.advance(1_000)
    body = {"future_token": reply["future_token"]}
    assert alice.request("POST", f"{C}/v3/futures/refresh", json=body).status == 410
    world.advance(6_000)
    assert alice.bodies(room_id) == []


def test_a_batch_ends_when_a_resolution_takes_its_state_event_away(world: World) -> None:
    """No newer event stands in its place: the one that it came with was never allowed, as it turns out."""
    carol, alice, bob = world["hs2"].user("carol"), world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = carol.create_room(power_level_content_override={"state_default": 0})
    for user in (alice, bob):
        user.join(room_id, "hs2")
    world.advance(1_000)
    world.partition(["hs1"], ["hs2"])
    carol.post(f"/rooms/{quote(room_id)}/ban", {"user_id": alice.user_id})
    call = {"type": "m.call.member", "state_key": "alice", "content": {"n": 1}}
    timeout = {"type": "m.room.message", "content": {"body": "alice has left"}}
    reply = batch(alice, room_id, timeout=600, send_now=call, send_on_timeout=timeout)
    body = {"future_token": reply["future_token"]}
    assert ("m.call.member", "alice") in bob.state(room_id)
    assert bob.request("POST", f"{C}/v3/futures/refresh", json=body).status == 200
    world.heal()
    world.advance(60_000)
    bob.send(room_id, "is anybody there?")  # both servers hear of each other's events
    carol.send(room_id, "yes")
    world.advance(60_000)
    assert ("m.call.member", "alice") not in bob.state(room_id)
    assert bob.request("POST", f"{C}/v3/futures/refresh", json=body).status == 410


@pytest.mark.parametrize("changes_at_once", [1, 2, 1_000])
def test_state_that_changed_while_nobody_was_here_ends_a_batch(
    world: World, changes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minihs.homeserver.futures.steps.SLOTS_AT_ONCE", changes_at_once)
    carol, alice = world["hs2"].user("carol"), world["hs1"].user("alice")
    room_id = carol.create_room(power_level_content_override={"state_default": 0})
    alice.join(room_id, "hs2")
    call = {"type": "m.call.member", "state_key": "alice", "content": {"n": 1}}
    timeout = {"type": "m.room.message", "content": {"body": "alice has left"}}
    tokens = [
        batch(alice, room_id, timeout=600, send_now=call, send_on_timeout=timeout)["future_token"],
        batch(alice, room_id, timeout=600, send_now={**call, "state_key": "other"}, send_on_timeout=timeout)[
            "future_token"
        ],
    ]
    alice.leave(room_id)
    world.advance(1_000)
    carol.set_state(room_id, "m.call.member", {"n": 2}, "alice")
    world.advance(1_000)
    alice.join(room_id, "hs2")
    world.advance(1_000)
    statuses = [
        alice.request("POST", f"{C}/v3/futures/refresh", json={"future_token": token}).status
        for token in tokens
    ]
    assert statuses == [410, 200]


def test_a_redaction_comes_with_its_message(world: World) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room()
    carol.join(room_id, "hs1")
    event_id = batch(
        alice,
        room_id,
        send_now={"type": "m.room.message", "content": {"body": "for five seconds"}},
        send_on_timeout={"type": "m.room.redaction", "content": {"redacts": "$m.send_now.event_id"}},
    )["send_now"]["event_id"]
    world.advance(1_000)
    assert carol.bodies(room_id) == ["for five seconds"]
    world.advance(6_000)
    for user in (alice, carol):
        assert user.get(f"/rooms/{quote(room_id)}/event/{quote(event_id)}")["content"] == {}


def test_no_event_of_an_older_draft_names_a_delay_id(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    path = f"/rooms/{quote(room_id)}/send/m.room.message"
    alice.put(f"{path}/a", {"body": "a", "m.will_expire": 1})
    alice.put(f"{path}/b", {"body": "b"}, query={"future_timeout": 1_000})
    batch(alice, room_id, timeout=1, send_on_timeout={"type": "m.room.message", "content": {"body": "c"}})
    world.advance(2_000)
    for event in alice.messages(room_id):
        unsigned = event.get("unsigned", {})
        assert "delay_id" not in unsigned
        assert "org.matrix.msc4140.delay_id" not in unsigned


def test_the_event_that_is_sent_at_once_names_its_transaction(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    alice.put(f"/rooms/{quote(room_id)}/send/m.room.message/txn", {"body": "a", "m.will_expire": 1})
    assert alice.messages(room_id)[0]["unsigned"]["transaction_id"] == "txn"
    world.advance(2_000)
    assert "transaction_id" not in alice.messages(room_id)[0].get("unsigned", {})


def test_deactivation_ends_them(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    path = f"/rooms/{quote(room_id)}/send/m.room.message"
    token = bob.put(f"{path}/a", {"body": "a", "m.will_expire": 5})["expire_refresh_token"]
    auth = {"type": "m.login.password", "user": "bob", "password": "a long password"}
    gone = bob.request("POST", "/account/deactivate", json={"auth": auth})
    if gone.status == 401:
        gone = bob.request(
            "POST", "/account/deactivate", json={"auth": {**auth, "session": gone.json["session"]}}
        )
    assert gone.status == 200, gone.body
    body = {"expire_refresh_token": token}
    assert alice.request("PUT", f"{C}/v3/expiration/refresh", json=body).status == 410
    world.advance(6_000)
    assert alice.bodies(room_id) == ["a"]


def test_logging_out_does_not_end_them(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    bob.put(f"/rooms/{quote(room_id)}/send/m.room.message/a", {"body": "a", "m.will_expire": 5})
    bob.post("/logout")
    world.advance(6_000)
    words = [event["content"].get("m.will_expire") for event in alice.messages(room_id)]
    assert words[:2] == ["expired", "running"]
