"""Two whole servers on a network in memory and a virtual clock."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.support.world import Client, World


def a_room_of_two(world: World) -> tuple[Client, Client, str]:
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id, "hs1")
    return alice, bob, room_id


def test_messages_go_both_ways_and_both_servers_agree_about_the_state() -> None:
    world = World("hs1", "hs2")
    alice, bob, room_id = a_room_of_two(world)
    sent = [alice.send(room_id, "hello")]
    world.advance(1_000)
    sent.append(bob.send(room_id, "hello yourself"))
    world.advance(1_000)
    for user in (alice, bob):
        assert [event["event_id"] for event in user.messages(room_id)[:2]] == sent[::-1]
    ids = [{key: event["event_id"] for key, event in user.state(room_id).items()} for user in (alice, bob)]
    assert ids[0] == ids[1]
    world.stop()


def test_a_future_reaches_the_other_server_when_it_is_due_and_not_before() -> None:
    world = World("hs1", "hs2")
    alice, bob, room_id = a_room_of_two(world)
    before = [event["event_id"] for event in bob.messages(room_id)]
    alice.put(
        f"/rooms/{room_id}/delayed_event/m.room.message/t",
        {"delay_ms": 10_000, "content": {"msgtype": "m.text", "body": "later"}},
    )
    world.advance(9_900)
    assert [event["event_id"] for event in bob.messages(room_id)] == before
    world.advance(1_000)
    assert bob.bodies(room_id) == ["later"]
    world.stop()


def story(seed: int) -> list[Any]:
    """What happens in a world: event IDs, tokens, replies."""
    world = World("hs1", "hs2", seed=seed)
    alice, bob, room_id = a_room_of_two(world)
    seen: list[Any] = [alice.token, bob.token, room_id]
    seen.append(alice.send(room_id, "one"))
    seen.append(
        alice.put(
            f"/rooms/{room_id}/delayed_event/m.room.message/t",
            {"delay_ms": 500, "content": {"msgtype": "m.text", "body": "later"}},
        )
    )
    world.advance(1_000)
    seen.append(bob.messages(room_id))
    seen.append(bob.sync())
    world.stop()
    return seen


def test_the_same_seed_gives_the_same_events_ids_and_replies() -> None:
    assert story(seed=7) == story(seed=7)


def test_the_order_of_hash_tables_changes_nothing() -> None:
    program = "from tests.world.test_two_servers import story; print(story(seed=7))"
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert "later" in told[0]


def test_another_seed_gives_others() -> None:
    assert story(seed=7)[:5] != story(seed=8)[:5]
