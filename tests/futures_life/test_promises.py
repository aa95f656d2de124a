"""What the engine promises whatever the dialect, in each dialect. Futures specification, section 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minihs.store.futures_overview import START
from tests.futures_life.owners import text
from tests.futures_life.ways import Scene, Way, each_way, scene
from tests.support.world import Client

__all__ = ["scene"]


def scheduled(scene: Scene) -> int:
    page = scene.world["hs1"].parts.futures_administration.page(START, 1_000)
    return len(scene.world.run(page).rows)


def events_of(viewer: Client, room_id: str) -> list[str]:
    return [event["event_id"] for event in viewer.messages(room_id)]


def with_one_transaction(user: Client, work: Callable[[], Any]) -> Any:
    """What `work` does when the user's client names the same transaction as before."""
    user.txn = lambda: "the-same"  # type: ignore[method-assign]
    return work()


@each_way
def test_until_it_is_sent_it_leaves_no_trace(way: Way, scene: Scene) -> None:
    carol = scene.world["hs2"].user("carol")
    carol.join(scene.room_id, "hs1")
    scene.world.advance(1_000)
    if way.name == "will-expire":
        way.schedule(scene.bob, scene.room_id, 600_000, text("the event itself is sent at once"))
        scene.world.advance(1_000)
    viewers = (scene.alice, scene.bob, carol)
    before = [events_of(viewer, scene.room_id) for viewer in viewers]
    for viewer in viewers:
        viewer.sync()
    traffic = scene.world.traffic()
    if way.name != "will-expire":
        way.schedule(scene.bob, scene.room_id, 600_000, text())
        way.schedule(scene.bob, scene.room_id, 600_000, {}, type="m.call", state_key="k")
    scene.world.advance(300_000)
    assert scheduled(scene) == 2
    assert [events_of(viewer, scene.room_id) for viewer in viewers] == before
    assert ("m.call", "k") not in scene.alice.state(scene.room_id)
    for viewer in viewers:
        assert "rooms" not in viewer.sync(timeout=0)
    assert scene.world.traffic() == traffic, "the other server hears nothing"


@each_way
def test_a_repeat_of_the_transaction_is_the_same_future(way: Way, scene: Scene) -> None:
    def schedule() -> Any:
        return way.schedule(scene.bob, scene.room_id, 60_000, text())

    first = with_one_transaction(scene.bob, schedule)
    stored, seen = scheduled(scene), events_of(scene.alice, scene.room_id)
    assert with_one_transaction(scene.bob, schedule) == first
    scene.world["hs1"].restart()
    assert with_one_transaction(scene.bob, schedule) == first, "also over a restart of the server"
    assert scheduled(scene) == stored
    assert events_of(scene.alice, scene.room_id) == seen
    session = scene.bob.post(
        "/login",
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "bob"},
            "password": "a long password",
        },
    )
    scene.bob.token = session["access_token"]
    assert with_one_transaction(scene.bob, schedule) != first, "another device's transaction is another one"
    assert scheduled(scene) == 2 * stored


@each_way
@pytest.mark.parametrize("cleanly", [True, False])
def test_what_is_overdue_is_sent_in_order_when_the_server_is_back(
    way: Way, scene: Scene, cleanly: bool
) -> None:
    for seconds in (30, 10, 20, 90):
        way.schedule(scene.bob, scene.room_id, seconds * 1_000, text(f"{seconds}"))
    server = scene.world["hs1"]
    (server.stop if cleanly else server.crash)()
    scene.world.advance(60_000)
    server.start()
    scene.world.advance(1_000)
    assert scene.late() == ["10", "20", "30"]
    scene.world.advance(30_000)
    assert scene.late() == ["10", "20", "30", "90"]


@each_way
def test_power_that_is_gained_counts_like_power_that_is_lost(way: Way, scene: Scene) -> None:
    scene.alice.set_power(scene.room_id, events={"m.x": 50})
    if way.name == "will-expire":
        path = f"/rooms/{scene.room_id}/send/m.x/t"
        assert scene.bob.request("PUT", path, json={"m.will_expire": 1}).status == 403, "it is sent at once"
        return
    way.schedule(scene.bob, scene.room_id, 1_000, {"n": 1}, type="m.x")
    way.schedule(scene.bob, scene.room_id, 2_000, {"n": 2}, type="m.x")
    scene.world.advance(1_500)
    scene.alice.set_power(scene.room_id, users={scene.bob.user_id: 50})
    scene.world.advance(1_000)
    assert scene.told() == ["M_FORBIDDEN", "sent"]
    assert [e["content"] for e in scene.alice.messages(scene.room_id) if e["type"] == "m.x"] == [{"n": 2}]


@each_way
def test_a_failed_send_on_command_leaves_it_scheduled(way: Way, scene: Scene) -> None:
    future = way.schedule(scene.bob, scene.room_id, 60_000, text())
    scene.alice.set_power(scene.room_id, events_default=50)
    before = scheduled(scene)
    refused = way.send(scene.bob, future)
    path = f"/rooms/{scene.room_id}/send/m.room.message/now"
    as_sent = scene.bob.request("PUT", path, json=text())
    assert (refused.status, refused.json) == (as_sent.status, as_sent.json), "as `/send` says it"
    assert scheduled(scene) == before
    scene.alice.set_power(scene.room_id, events_default=0)
    assert way.send(scene.bob, future).status == 200
    assert scene.late() == ["late"]
    assert scheduled(scene) == 0
