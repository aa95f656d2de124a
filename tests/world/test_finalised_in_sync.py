"""MSC4309 on whole servers: what became of futures, in `/sync`, each once. Futures specification, 2.7."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.world import Client, World

KEY = "org.matrix.msc4140.finalised_delayed_events"


@pytest.fixture
def world() -> Iterator[World]:
    world = World("hs1")
    yield world
    world.stop()


def schedule(user: Client, room_id: str, delay_ms: int = 1_000, **body: Any) -> str:
    event_type = body.pop("type", "m.room.message")
    path = f"/rooms/{quote(room_id)}/delayed_event/{event_type}/d{next(user.txn_ids)}"
    body.setdefault("content", {"msgtype": "m.text", "body": "later"})
    return str(user.put(path, {"delay_ms": delay_ms, **body})["delay_id"])


def act(user: Client, delay_id: str, action: str) -> None:
    user.post(f"/_matrix/client/v1/delayed_events/{delay_id}/{action}")


def lookup(user: Client, delay_id: str) -> Any:
    return user.get(f"/_matrix/client/v1/delayed_events/{delay_id}")


def news(user: Client, **query: Any) -> list[str]:
    """What a sync tells from where the last one ended."""
    items = user.sync(**query).get(KEY, [])
    return [item["delay_id"] for item in items]


def test_what_was_sent_is_told_once_in_the_shape_of_a_lookup(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    assert KEY not in alice.sync()
    delay_id = schedule(alice, room_id)
    assert KEY not in alice.sync()
    world.advance(1_500)
    reply = alice.sync()
    assert reply[KEY] == [lookup(alice, delay_id)]
    assert reply[KEY][0]["finalised"]["event_id"] == alice.messages(room_id)[0]["event_id"]
    assert KEY not in alice.sync()


def test_what_failed_is_told_with_its_error(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    alice.sync()
    schedule(alice, room_id, type="m.room.redaction", content={"redacts": "$nothing"})
    world.advance(1_500)
    [item] = alice.sync()[KEY]
    assert item["finalised"]["error"]["errcode"] == "M_NOT_FOUND"


def test_what_its_owner_cancelled_is_not_told(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    alice.sync()
    cancelled, sent = schedule(alice, room_id), schedule(alice, room_id)
    act(alice, cancelled, "cancel")
    act(alice, sent, "send")
    assert news(alice) == [sent]


def test_what_newer_state_ended_has_failed(world: World) -> None:
    alice = world["hs1"].user("alice")
    bob = world["hs1"].user("bob")
    room_id = alice.create_room(power_level_content_override={"state_default": 0})
    bob.join(room_id)
    path = f"/rooms/{quote(room_id)}/state/m.call.member/call"
    delay_id = alice.put(path, {}, query={"org.matrix.msc4140.delay": 60_000})["delay_id"]
    alice.sync()
    bob.put(path, {"n": 1})
    [item] = alice.sync()[KEY]
    assert item["delay_id"] == delay_id
    assert item["finalised"]["error"]["errcode"] == "M_CANCELLED_BY_STATE_UPDATE"


def test_an_initial_sync_tells_all_that_are_kept(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    delay_ids = [schedule(alice, room_id, 1_000 + n) for n in range(3)]
    world.advance(1_500)
    assert [item["delay_id"] for item in alice.get("/sync")[KEY]] == delay_ids


def test_many_are_told_page_by_page_and_each_once(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    start = alice.sync()["next_batch"]
    delay_ids = []
    for _ in range(3):
        delay_ids += [schedule(alice, room_id, 1_000 + n) for n in range(70)]
        world.advance(1_500)
    told: list[list[str]] = []
    first = alice.get("/sync")
    told.append([item["delay_id"] for item in first[KEY]])
    alice.since = first["next_batch"]
    told += [news(alice), news(alice)]
    assert [len(page) for page in told] == [100, 100, 10]
    assert [delay_id for page in told for delay_id in page] == delay_ids
    assert KEY not in alice.sync()

    alice.since = start
    assert news(alice) == delay_ids[:100]
    unwanted = json.dumps({KEY: False})
    assert KEY not in alice.sync(filter=unwanted)
    assert KEY not in alice.sync(), "what a filter leaves out is passed over, all of it"


def test_what_is_not_told_takes_no_place_on_a_page(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    alice.sync()
    for _ in range(120):
        act(alice, schedule(alice, room_id), "cancel")
    path = f"/_matrix/client/v1/rooms/{quote(room_id)}/send_future/m.room.message"
    for number in range(2):
        for other in range(60):
            alice.put(f"{path}/{number}-{other}", {"n": other}, query={"future_timeout": 1_000})
        world.advance(1_500)
    sent = schedule(alice, room_id)
    act(alice, sent, "send")
    assert news(alice) == [sent]


def test_they_come_in_the_order_of_their_ends(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    alice.sync()
    late, soon = schedule(alice, room_id, 2_000), schedule(alice, room_id, 1_000)
    world.advance(3_000)
    assert news(alice) == [soon, late]


def test_a_token_says_which_are_new(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    tokens, delay_ids = [], []
    for _ in range(3):
        tokens.append(alice.sync()["next_batch"])
        delay_ids.append(schedule(alice, room_id))
        act(alice, delay_ids[-1], "send")
    for number, token in enumerate(tokens):
        for _ in range(2):
            items = alice.get("/sync", query={"since": token})[KEY]
            assert [item["delay_id"] for item in items] == delay_ids[number:]


def test_only_their_owner_is_told(world: World) -> None:
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    schedule(alice, room_id)
    world.advance(1_500)
    assert KEY not in bob.get("/sync")
    assert KEY in alice.get("/sync")


def test_futures_without_a_delay_id_are_not_told(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    path = f"/rooms/{quote(room_id)}/send/m.room.message/x"
    alice.put(path, {"body": "x"}, query={"future_timeout": 1_000})
    alice.put(f"{path}y", {"body": "x", "m.will_expire": 1})
    world.advance(1_500)
    assert KEY not in alice.get("/sync")
    assert len(alice.bodies(room_id)) == 3


@pytest.mark.parametrize(("value", "told"), [(False, False), (True, True), (None, True), (0, True)])
@pytest.mark.parametrize("uploaded", [False, True])
def test_a_filter_leaves_them_out(world: World, value: Any, told: bool, uploaded: bool) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    schedule(alice, room_id)
    world.advance(1_500)
    definition = {KEY: value}
    text = json.dumps(definition)
    if uploaded:
        text = alice.post(f"/user/{quote(alice.user_id)}/filter", definition)["filter_id"]
    assert (KEY in alice.get("/sync", query={"filter": text})) is told


def test_a_sync_that_waits_is_woken(world: World) -> None:
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    delay_id = schedule(alice, room_id, type="m.room.redaction", content={"redacts": "$nothing"})
    since = alice.sync()["next_batch"]
    waiting = alice.start("GET", f"/_matrix/client/v3/sync?since={since}&timeout=10000")
    world.advance(500)
    assert waiting.take() is None
    world.advance(600)
    reply = waiting.take()
    assert reply is not None, "a failure makes no event: it must wake the sync itself"
    assert [item["delay_id"] for item in reply.json[KEY]] == [delay_id]


def test_a_sync_that_waits_is_not_answered_for_a_cancelled_one(world: World) -> None:
    alice = world["hs1"].user("alice")
    delay_id = schedule(alice, alice.create_room())
    since = alice.sync()["next_batch"]
    waiting = alice.start("GET", f"/_matrix/client/v3/sync?since={since}&timeout=10000")
    world.advance(100)
    act(alice, delay_id, "cancel")
    world.advance(1_000)
    assert waiting.take() is None


@pytest.mark.parametrize("cleanly", [True, False])
def test_nothing_is_lost_or_told_twice_over_restarts(world: World, cleanly: bool) -> None:
    server = world["hs1"]
    alice = server.user("alice")
    room_id = alice.create_room()
    alice.sync()
    told: list[str] = []
    delay_ids: list[str] = []
    for _ in range(4):
        delay_ids += [schedule(alice, room_id, 500), schedule(alice, room_id, 2_500)]
        world.advance(1_000)
        if cleanly:
            server.restart()
        else:
            server.crash()
            server.start()
        told += news(alice)
        world.advance(1_000)
    world.advance(3_000)
    told += news(alice)
    assert sorted(told) == sorted(delay_ids)


def test_a_token_is_good_when_outcomes_were_forgotten() -> None:
    """Positions are not given again, or what ends afterwards would be taken for old."""
    world = World("hs2", futures__retention_count=0)
    alice = world["hs2"].user("alice")
    room_id = alice.create_room()
    for _ in range(3):
        act(alice, schedule(alice, room_id), "send")
    world.advance(1_000)
    alice.sync()
    world["hs2"].restart()
    delay_id = schedule(alice, room_id)
    act(alice, delay_id, "send")
    assert news(alice) == [delay_id]
    world.stop()


def test_a_server_without_the_dialect_tells_nothing_and_its_tokens_go_on() -> None:
    world = World("hs1", futures__dialects=["merged"])
    server = world["hs1"]
    alice = server.user("alice")
    room_id = alice.create_room()
    alice.sync()
    unseen = schedule(alice, room_id)
    act(alice, unseen, "send")
    assert KEY not in alice.sync()
    server.settings = {**server.settings, "futures.dialects": ["merged", "msc4309"]}
    server.restart()
    seen = schedule(alice, room_id)
    act(alice, seen, "send")
    assert news(alice) == [seen]
    world.stop()
