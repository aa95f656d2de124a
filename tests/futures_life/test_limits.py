"""Limits as abuse meets them: many behind one address, floods, guessing, and what is written down."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from minihs.http.limits import MAX_KEYS_PER_BUCKET
from tests.futures_life.owners import C, U, act, act_unstable, asking, finalised, merged, query, text, tokens
from tests.futures_life.ways import Scene, Way, each_way, scene
from tests.support.world import Client, World

__all__ = ["scene"]

PARTICIPANTS = 200
HEARTBEAT_MS = 5_000


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1", rate_limits__enabled=True, rate_limits__buckets={"registration": [1000.0, 1000]})
    yield world
    world.stop()


def scheduled_by_one(world: World, count: int, **how: Any) -> tuple[Client, str, list[str]]:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    ids = []
    for _ in range(count):
        ids.append(query(alice, room_id, 600_000, **how))
        world.advance(110)  # ten a second are allowed for ever
    return alice, room_id, ids


def test_participants_behind_one_address_do_not_starve_each_other(world: World) -> None:
    """200 people in one call, without access tokens, a heartbeat each every 5 s, for a minute."""
    people = [world["hs1"].user(f"user{number}") for number in range(PARTICIPANTS // 100)]
    room_id = people[0].create_room()
    for user in people[1:]:
        user.join(room_id)
    ids = []
    for number in range(PARTICIPANTS):
        user = people[number % len(people)]
        ids.append(query(user, room_id, 20_000, {}, type="m.call", state_key=str(number)))
        world.advance(60)
    # Only the heartbeats keep them for longer than twenty seconds.
    for _ in range(12):
        statuses = {act_unstable(world, "hs1", delay_id, "restart").status for delay_id in ids}
        assert statuses == {200}
        world.advance(HEARTBEAT_MS)
    assert all(finalised(people[n % len(people)], delay_id) is None for n, delay_id in enumerate(ids))


def test_who_hammers_one_future_is_slowed_and_nobody_else_is(world: World) -> None:
    _, _, (one, other) = scheduled_by_one(world, 2)
    statuses = [act_unstable(world, "hs1", one, "restart").status for _ in range(40)]
    assert statuses[:20] == [200] * 20
    assert 429 in statuses
    assert act_unstable(world, "hs1", other, "restart").status == 200
    world.advance(1_000)
    assert act_unstable(world, "hs1", one, "restart").status == 200


def test_a_good_token_is_limited_for_its_future_alone(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    one, other = (tokens(alice, room_id, 600_000)["refresh_token"] for _ in range(2))

    def refresh(token: str) -> int:
        return world["hs1"].driver.request("POST", f"{C}/v1/future/{token}", json={}).status

    statuses = [refresh(one) for _ in range(40)]
    assert statuses[:20] == [200] * 20
    assert 429 in statuses
    assert refresh(other) == 200


def test_with_an_access_token_the_user_is_limited_whatever_the_future(world: World) -> None:
    alice, _, ids = scheduled_by_one(world, 5)
    statuses = [act(alice, ids[number % 5], "restart").status for number in range(230)]
    assert statuses[:200] == [200] * 200
    assert 429 in statuses
    bob = world["hs1"].user("bob")
    assert act(bob, ids[0], "restart").status == 404


def test_a_flood_of_scheduling_is_answered_with_429_and_remembers_nothing(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    replies = [asking(alice, room_id, 600_000) for _ in range(1_000)]
    accepted = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status != 200]
    assert len(accepted) == 100, "as many as one may have scheduled"
    assert {reply.status for reply in refused} == {429}
    for reply in refused:
        assert reply.json["errcode"] == "M_LIMIT_EXCEEDED"
        assert reply.json["retry_after_ms"] > 0
        assert int(reply.headers["retry-after"]) == -(-reply.json["retry_after_ms"] // 1000)
    assert len(world["hs1"].parts.limiter._full_at_ms["futures_schedule"]) == 1


def test_guessed_ids_take_no_more_memory_than_the_table_allows(world: World) -> None:
    entries = world["hs1"].parts.limiter._full_at_ms
    statuses = []
    for number in range(1_000):
        guess = f"{number:06d}" + "x" * 5_000
        statuses.append(act_unstable(world, "hs1", guess, "cancel").status)
    assert set(statuses) == {404, 429}
    assert statuses.index(429) == 500, "an address has so many guesses at once"
    assert len(entries["futures_action"]) <= 1_000 < MAX_KEYS_PER_BUCKET
    assert max(sys.getsizeof(key) for key in entries["futures_action"]) < 200


def test_who_guesses_tokens_waits_and_good_ones_go_on_working() -> None:
    for limited in (True, False):
        world = World("hs1", rate_limits__enabled=limited)
        alice = world["hs1"].user("alice")
        good = tokens(alice, alice.create_room(), 600_000)["refresh_token"]
        driver = world["hs1"].driver

        def redeem(token: str, driver: Any = driver) -> int:
            return int(driver.request("POST", f"{C}/v1/future/{token}", json={}).status)

        assert [redeem(f"guess{n}") for n in range(7)] == [410] * 5 + [429] * 2
        assert redeem(good) == 200
        assert redeem("guess") == 429
        world.advance(10_000)
        assert redeem("guess") == 410
        world.stop()


def test_more_than_the_maximum_delay_is_refused_and_the_maximum_is_not() -> None:
    world = World("hs1", futures__max_delay_ms=5_000)
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    refused = asking(alice, room_id, 5_001)
    assert (refused.status, refused.json["errcode"]) == (400, "M_DELAY_TOO_LARGE")
    assert asking(alice, room_id, 5_000).status == 200
    world.stop()


def test_every_stored_event_counts_and_makes_room_when_it_is_over() -> None:
    world = World("hs1", futures__max_scheduled=2)
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    tokens(alice, room_id, 4_000, group="g")
    path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/action"
    alice.put(path, text("action"), query={"future_group_id": "g"})
    refused = asking(alice, room_id, 1_000)
    assert (refused.status, refused.json["errcode"]) == (429, "M_LIMIT_EXCEEDED")
    assert refused.json["retry_after_ms"] <= 4_000
    assert int(refused.headers["retry-after"]) == 4
    world.advance(4_500)
    assert asking(alice, room_id, 1_000).status == 200
    world.stop()


def test_a_due_send_beyond_the_budget_has_failed_with_all_that_send_would_have_told() -> None:
    buckets = {"futures_due": [0.1, 1]}
    world = World("hs1", futures__max_scheduled=1, rate_limits__enabled=True, rate_limits__buckets=buckets)
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    within = merged(alice, room_id, 1_000)
    world.advance(1_000)
    beyond = merged(alice, room_id, 1_000)
    world.advance(1_000)
    assert "event_id" in (finalised(alice, within) or {})
    error = (finalised(alice, beyond) or {})["error"]
    assert error.keys() == {"errcode", "error", "retry_after_ms"}
    assert error["errcode"] == "M_LIMIT_EXCEEDED"
    assert 8_000 < error["retry_after_ms"] <= 10_000
    world.stop()


def test_a_server_without_limits_says_so_and_sends_all_that_it_took() -> None:
    no_limits = {"futures__max_delay_ms": None, "futures__max_scheduled": None}
    buckets = {"futures_due": [0.001, 1], "futures_schedule": [1000.0, 1000]}
    world = World("hs1", **no_limits, rate_limits__enabled=True, rate_limits__buckets=buckets)
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    capabilities = alice.get(f"{C}/v3/capabilities")["capabilities"]
    assert capabilities["m.delayed_events"] == capabilities["org.matrix.msc4140.delayed_events"] == {}
    act(alice, merged(alice, room_id, 1_000 * 86_400_000), "cancel")
    ids = [merged(alice, room_id, 1_000) for _ in range(120)]
    world.advance(1_000)
    outcomes = [finalised(alice, delay_id) for delay_id in ids]
    assert all(outcome is not None and "event_id" in outcome for outcome in outcomes)
    world.stop()


def test_outcomes_are_kept_so_many_and_so_long() -> None:
    world = World("hs1", futures__retention_count=3, futures__retention_ms=60_000)
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    ids = [merged(alice, room_id, 1_000 + 100 * number) for number in range(6)]
    world.advance(3_000)

    def kept() -> list[str]:
        return [one for one in ids if alice.request("GET", f"{C}/v1/delayed_events/{one}").status == 200]

    assert kept() == ids[-3:]
    world.advance(60_000)
    assert kept() == []
    world.stop()


def secrets_of(reply: Any) -> Iterator[str]:
    """IDs and tokens, wherever a reply has them."""
    if isinstance(reply, dict):
        for name, value in reply.items():
            if isinstance(value, str) and (name.endswith("_token") or name in ("delay_id", "future_id")):
                yield value
            yield from secrets_of(value)


@each_way
def test_nothing_secret_is_logged(way: Way, scene: Scene) -> None:
    written: list[str] = []

    def observe(event: Any) -> None:
        written.append(repr({key: value for key, value in event.items() if key != "log_failure"}))
        written.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        futures = [way.schedule(scene.bob, scene.room_id, 5_000, text()) for _ in range(3)]
        secrets = {str(scene.bob.token), *(secret for future in futures for secret in secrets_of(future))}
        assert len(secrets) >= 4
        assert way.restart(scene.bob, futures[0]).status == 200
        way.restart(scene.bob, futures[0], as_nobody=True)
        assert way.send(scene.bob, futures[0]).status == 200
        for path in (f"{U}/delayed_events", f"{C}/v1/future", f"{C}/v1/delayed_events"):
            scene.bob.request("GET", path)
        for secret in secrets:
            for path in (f"{C}/v1/future", f"{C}/v3/futures", f"{U}/delayed_events"):
                scene.bob.request("POST", f"{path}/{secret}", json={"action": "nonsense"})
            scene.bob.request("GET", f"{C}/v1/delayed_events/{secret}", query={"from": secret})
            scene.bob.request("POST", f"{C}/v1/update_future", json={"future_id": secret, "action": secret})
        scene.alice.post(f"/rooms/{scene.room_id}/ban", {"user_id": scene.bob.user_id})
        way.send(scene.bob, futures[1])
        scene.world["hs1"].restart()
        scene.world.advance(6_000)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert any("{room_id}" in line for line in written), "each request is logged, by its route"
    assert not [line for line in written if any(secret in line for secret in secrets)]
