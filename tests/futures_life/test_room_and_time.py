"""What becomes of a future when its room, the clocks, or the room's state change before its time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.futures_life.owners import (
    ENDED_BY_STATE,
    U,
    asking,
    error_of,
    finalised,
    merged,
    query,
    running,
    text,
    tokens,
)
from tests.support.world import Client, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", "hs2")
    yield world
    world.stop()


def sent_at(user: Client, room_id: str) -> int:
    """When the last message of a room was made, by its server's wall clock."""
    return int(next(e for e in user.messages(room_id) if e["type"] == "m.room.message")["origin_server_ts"])


# Time


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
def test_a_step_of_the_wall_clock_neither_fires_nor_stalls(world: World, step_ms: int) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    delay_id = merged(alice, room_id, 5_000)
    world["hs1"].set_clock(skew_ms=step_ms)
    world.advance(4_990)
    assert finalised(alice, delay_id) is None
    world.advance(20)
    assert alice.bodies(room_id) == ["later"]
    assert sent_at(alice, room_id) - step_ms == pytest.approx(1_700_000_005_000, abs=50)


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
def test_a_step_before_a_restart_does_not_count_as_time(world: World, step_ms: int) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    delay_id = merged(alice, room_id, 60_000)
    world.advance(20_000)
    world["hs1"].set_clock(skew_ms=step_ms)
    world.advance(11_000)  # it is noted within ten seconds
    world["hs1"].restart()
    world.advance(28_900)
    assert finalised(alice, delay_id) is None
    world.advance(1_200)
    assert alice.bodies(room_id) == ["later"]


# State


@pytest.mark.parametrize("dialect", ["merged", "query", "tokens"])
def test_newer_state_and_the_timer_in_the_same_moment(world: World, dialect: str) -> None:
    """The newer state gets its place before the timer is looked at: it wins where the dialect lets it."""
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room(power_level_content_override={"events": {"m.call": 0}})
    bob.join(room_id)
    how = {"type": "m.call", "state_key": "k"}
    delay_id = ""
    if dialect == "tokens":
        tokens(alice, room_id, 1_000, {"by": "timer"}, **how)
    else:
        delay_id = {"merged": merged, "query": query}[dialect](alice, room_id, 1_000, {"by": "timer"}, **how)
    world.advance(990)
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/state/m.call/k"
    waiting = bob.start("PUT", path, json={"by": "bob"})
    world.advance(100)
    reply = waiting.take()
    assert reply is not None
    assert reply.status == 200
    stands = alice.state(room_id)["m.call", "k"]["content"]
    if dialect == "merged":
        assert stands == {"by": "timer"}, "nothing ends it"
    else:
        assert stands == {"by": "bob"}
        assert running(alice) == []
    if dialect == "query":
        assert error_of(alice, delay_id) == ENDED_BY_STATE


# The room


def test_a_future_stays_in_the_room_that_was_upgraded(world: World) -> None:
    """Its sender may not speak there any more, where power levels say so; the old room is judged."""
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room(room_version="11")
    bob.join(room_id)
    by_alice, by_bob = merged(alice, room_id, 5_000, text("alice")), merged(bob, room_id, 5_000, text("bob"))
    new_id = alice.post(f"/rooms/{quote(room_id)}/upgrade", {"new_version": "12"})["replacement_room"]
    bob.join(new_id)
    world.advance(6_000)
    assert alice.bodies(room_id) == ["alice"]
    assert alice.bodies(new_id) == []
    assert finalised(alice, by_alice) is not None
    assert error_of(bob, by_bob) == "M_FORBIDDEN"


def test_a_server_that_an_acl_excludes_sends_to_itself_alone(world: World) -> None:
    """An ACL is for those who receive: the excluded server's event is refused by the others."""
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = carol.create_room()
    alice.join(room_id, "hs2")
    merged(alice, room_id, 5_000)
    carol.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["hs1"]})
    world.advance(10_000)
    assert carol.bodies(room_id) == []


def test_a_room_that_everybody_left_and_forgot(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    delay_id = merged(alice, room_id, 5_000)
    alice.leave(room_id)
    alice.post(f"/rooms/{quote(room_id)}/forget")
    world.advance(6_000)
    assert error_of(alice, delay_id) == "M_FORBIDDEN"
    assert asking(alice, room_id, 5_000).status == 200, "who was there once may be there again in time"


# What a future is


def test_a_membership_change(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    mine = {"type": "m.room.member", "state_key": bob.user_id}
    delay_id = merged(bob, room_id, 5_000, {"membership": "leave"}, **mine)
    merged(alice, room_id, 8_000, {"membership": "ban"}, **mine)
    world.advance(6_000)
    member = alice.state(room_id)["m.room.member", bob.user_id]
    outcome = finalised(bob, delay_id)
    assert outcome is not None
    assert outcome["event_id"] == member["event_id"]
    world.advance(3_000)
    assert alice.state(room_id)["m.room.member", bob.user_id]["content"]["membership"] == "ban"


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_a_redaction_is_sent_in_the_form_of_the_rooms_version(world: World, version: str) -> None:
    alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
    room_id = alice.create_room(room_version=version)
    carol.join(room_id, "hs1")
    target = alice.send(room_id, "regretted")
    merged(alice, room_id, 5_000, {"redacts": target, "reason": "r"}, type="m.room.redaction")
    world.advance(4_000)
    assert carol.bodies(room_id) == ["regretted"]
    world.advance(3_000)
    assert alice.bodies(room_id) == carol.bodies(room_id) == []
    [redaction] = [e for e in carol.messages(room_id) if e["type"] == "m.room.redaction"]
    pdu = world["hs1"].parts.room_service.events
    event = world.run(pdu.maybe_event(redaction["event_id"]))
    assert ("redacts" in event.pdu) is (version == "10")
    assert ("redacts" in event.content) is (version != "10")


def test_a_power_level_change_with_power_that_is_gone(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    alice.set_power(room_id, users={bob.user_id: 100})
    levels = bob.get(f"/rooms/{quote(room_id)}/state/m.room.power_levels/")
    change = {"type": "m.room.power_levels", "state_key": ""}
    kept = merged(bob, room_id, 2_000, {**levels, "invite": 77}, **change)
    lost = merged(bob, room_id, 5_000, {**levels, "invite": 99}, **change)
    world.advance(3_000)
    alice.set_power(room_id, users={bob.user_id: 0})
    world.advance(3_000)
    assert alice.state(room_id)["m.room.power_levels", ""]["content"]["invite"] == 77
    outcome = finalised(bob, kept)
    assert outcome is not None
    assert "event_id" in outcome
    assert error_of(bob, lost) == "M_FORBIDDEN"


def test_an_encrypted_event_is_sent_as_it_came(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    ciphertext = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEn", "session_id": "s"}
    merged(alice, room_id, 1_000, ciphertext, type="m.room.encrypted")
    world.advance(1_500)
    assert alice.messages(room_id)[0]["content"] == ciphertext


@pytest.mark.parametrize("own", [True, False])
def test_a_state_key_that_is_a_user_belongs_to_that_user(world: World, own: bool) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room(power_level_content_override={"events": {"m.call.member": 0}})
    bob.join(room_id)
    key = bob.user_id if own else alice.user_id
    delay_id = merged(bob, room_id, 1_000, {}, type="m.call.member", state_key=key)
    world.advance(1_500)
    outcome = finalised(bob, delay_id)
    assert outcome is not None
    if own:
        assert "event_id" in outcome
    else:
        assert "auth rule v12 9" in outcome["error"]["error"]


@pytest.mark.parametrize("version", ["6", "10", "12"])
def test_the_time_of_sending_is_the_events_time_in_every_version(world: World, version: str) -> None:
    """`?ts=` is for application services; a user's is not obeyed."""
    alice = world["hs1"].user("alice")
    room_id = alice.create_room(room_version=version)
    path = f"/rooms/{quote(room_id)}/delayed_event/m.room.message/ts"
    alice.put(path, {"delay_ms": 5_000, "content": text("later")}, query={"ts": 1})
    world.advance(6_000)
    assert sent_at(alice, room_id) == pytest.approx(1_700_000_005_000, abs=50)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"body": "x" * 66_000}, 413),
        ({"body": 1.5}, 400),
        ({"body": 2**53}, 400),
        ({"body": "x" * 60_000}, 200),
    ],
)
def test_what_can_be_no_event_is_refused_at_once(world: World, content: Any, status: int) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    assert asking(alice, room_id, 1_000, content).status == status
    world.advance(1_500)
    newest = alice.messages(room_id)[0]
    assert (newest["content"] == content) is (status == 200)


def test_what_becomes_too_large_in_its_room_fails_when_it_is_sent(world: World) -> None:
    """At scheduling the smallest event is measured; the real one has more parents and auth events."""
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    fits = 66_000
    while asking(alice, room_id, 1_000, {"body": "x" * fits}).status != 200:
        fits -= 10
    world.advance(1_500)
    listed = alice.get(f"{U}/delayed_events", query={"status": "finalised"})["finalised"]
    assert [one["error"]["errcode"] for one in listed] == ["M_TOO_LARGE"]
    assert alice.bodies(room_id) == []
