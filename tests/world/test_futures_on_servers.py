"""Futures on whole servers, wired as `serve` wires them: what owners, other users and other servers see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.lab.memory_network import Link
from tests.support.world import Client, World

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2")
    yield world
    world.stop()


def schedule(user: Client, room_id: str, delay_ms: int, **body: Any) -> str:
    event_type = body.pop("type", "m.room.message")
    txn = next(user.txn_ids)
    path = f"/rooms/{quote(room_id)}/delayed_event/{event_type}/d{txn}"
    body.setdefault("content", {"msgtype": "m.text", "body": "later"})
    return str(user.put(path, {"delay_ms": delay_ms, **body})["delay_id"])


def found(user: Client, delay_id: str) -> dict[str, Any]:
    return dict(user.get(f"/_matrix/client/v1/delayed_events/{delay_id}"))


def test_only_the_sender_reads_the_delay_id_of_the_event(world: World) -> None:
    alice, bob, carol = world["hs1"].user("alice"), world["hs1"].user("bob"), world["hs2"].user("carol")
    room_id = alice.create_room()
    bob.join(room_id)
    carol.join(room_id, "hs1")
    delay_id = schedule(alice, room_id, 1_000)
    world.advance(2_000)
    for user in (alice, bob, carol):
        event = user.messages(room_id)[0]
        assert event["content"]["body"] == "later"
        unsigned = event.get("unsigned", {})
        expected = delay_id if user is alice else None
        assert unsigned.get("delay_id") == unsigned.get("org.matrix.msc4140.delay_id") == expected
        assert "transaction_id" not in unsigned


def test_a_sync_that_waits_is_woken_by_a_future(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    since = alice.get("/sync", query={"timeout": 0})["next_batch"]
    schedule(alice, room_id, 1_000)
    waiting = alice.start("GET", f"/_matrix/client/v3/sync?since={since}&timeout=10000")
    world.advance(500)
    assert waiting.take() is None, "a scheduled future must leave no trace in /sync"
    world.advance(600)
    reply = waiting.take()
    assert reply is not None
    [event] = reply.json["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["content"]["body"] == "later"


def test_a_future_that_bans_keeps_its_delay_id_too(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    ban = {"type": "m.room.member", "state_key": bob.user_id, "content": {"membership": "ban"}}
    delay_id = schedule(alice, room_id, 1_000, **ban)
    world.advance(1_500)
    event = alice.messages(room_id)[0]
    assert event["content"]["membership"] == "ban"
    assert event["unsigned"]["delay_id"] == delay_id
    assert found(alice, delay_id)["finalised"]["event_id"] == event["event_id"]


def test_an_invite_to_a_server_that_is_silent_holds_the_rooms_other_futures_up_for_a_moment_only(
    world: World,
) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room()
    hosts = world["hs1"].host.address, world["hs2"].host.address
    world.network.set_link(*hosts, Link.SILENT)
    invite = {"type": "m.room.member", "state_key": carol.user_id, "content": {"membership": "invite"}}
    delay_id = schedule(alice, room_id, 1_000, **invite)
    schedule(alice, room_id, 1_001)
    world.advance(2_500)
    assert alice.bodies(room_id) == ["later"]
    assert "finalised" not in found(alice, delay_id)


def test_another_servers_newer_state_ends_a_future(world: World) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room(power_level_content_override={"events": {"m.call": 0}})
    carol.join(room_id, "hs1")
    path = f"/rooms/{quote(room_id)}/state/m.call/key?org.matrix.msc4140.delay=5000"
    delay_id = alice.put(path, {"left": True})["delay_id"]
    carol.set_state(room_id, "m.call", {"by": "carol"}, "key")
    world.advance(1_000)
    error = found(alice, delay_id)["finalised"]["error"]
    assert error["errcode"] == "M_CANCELLED_BY_STATE_UPDATE"
    world.advance(6_000)
    assert alice.state(room_id)["m.call", "key"]["content"] == {"by": "carol"}


def test_power_that_is_taken_over_federation_stops_a_future(world: World) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = carol.create_room()
    alice.join(room_id, "hs2")
    delay_id = schedule(alice, room_id, 5_000)
    carol.set_state(room_id, "m.room.power_levels", {"events_default": 50})
    world.advance(6_000)
    finalised = found(alice, delay_id)["finalised"]
    assert finalised["error"]["errcode"] == "M_FORBIDDEN"
    assert "event_id" not in finalised


def test_deactivation_cancels_and_logging_out_does_not(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    schedule(alice, room_id, 2_000, content={"msgtype": "m.text", "body": "my last will"})
    schedule(bob, room_id, 2_000, content={"msgtype": "m.text", "body": "never"})
    alice.post("/logout")
    auth = {"type": "m.login.password", "user": "bob", "password": "a long password"}
    refused = bob.request("POST", "/account/deactivate", json={})
    bob.post("/account/deactivate", {"auth": {**auth, "session": refused.json["session"]}})
    world.advance(3_000)
    carol = world["hs1"].user("carol")
    carol.join(room_id)
    assert carol.bodies(room_id) == ["my last will"]


def test_a_server_that_was_killed_over_due_times_sends_each_future_once(world: World) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room()
    carol.join(room_id, "hs1")
    for number, delay_ms in enumerate((3_000, 1_000, 2_000)):
        schedule(alice, room_id, delay_ms, content={"msgtype": "m.text", "body": str(number)})
    world["hs1"].crash()
    world.advance(60_000)
    world["hs1"].start()
    world.advance(5_000)
    assert alice.bodies(room_id) == carol.bodies(room_id) == ["1", "2", "0"]


def test_versions_and_capabilities_tell_of_what_is_on() -> None:
    for names, flags in (
        (
            ["merged", "delay-query", "tokens"],
            {"org.matrix.msc4140": True, "org.matrix.msc4140.stable": True},
        ),
        (["merged"], {"org.matrix.msc4140.stable": True}),
        (["tokens"], {}),
    ):
        world = World("hs1", futures__dialects=names, futures__max_scheduled=7)
        alice = world["hs1"].user("alice")
        told = alice.get("/_matrix/client/versions").get("unstable_features", {})
        assert {name: told[name] for name in told if "msc4140" in name} == flags
        capability = alice.get("/capabilities")["capabilities"].get("m.delayed_events")
        assert capability == ({"max_delay_ms": 86_400_000, "max_scheduled": 7} if flags else None)
        world.stop()
