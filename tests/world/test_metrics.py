"""What the metrics of whole servers say after something has happened, and what they never say."""

from __future__ import annotations

import re
from urllib.parse import quote

from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.lab.memory_network import Link
from minihs.server.measuring import measure
from tests.support.http import HttpDriver
from tests.support.world import World


class Scrape:
    """Asks one server of a world for its metrics."""

    def __init__(self, world: World, name: str) -> None:
        parts = world[name].server.parts
        site = ApiFactory(Router(measure(parts).routes()), clock=parts.clock, limiter=parts.limiter)
        self._driver = HttpDriver(site, world.clock)

    def text(self) -> str:
        response = self._driver.request("GET", "/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        return response.body.decode()

    def values(self) -> dict[str, float]:
        return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", self.text(), re.MULTILINE)}


def test_they_tell_of_the_writer_futures_rooms_and_other_servers() -> None:
    world = World("hs1", "hs2", federation__retry_initial_ms=3_600_000, federation__retry_max_ms=3_600_000)
    metrics = Scrape(world, "hs1")
    before = metrics.values()
    assert before["minihs_futures_scheduled"] == before["minihs_rooms_in_memory"] == 0
    alice, bob = world["hs1"].user("alice"), world["hs2"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id, "hs1")
    alice.send(room_id, "to hs2")
    for txn, delay_ms in (("soon", 1_000), ("later", 3_600_000)):
        path = f"/rooms/{quote(room_id)}/delayed_event/m.room.message/{txn}"
        alice.put(path, {"delay_ms": delay_ms, "content": {"msgtype": "m.text", "body": txn}})
    world.advance(500)
    assert metrics.values()["minihs_futures_scheduled"] == 2
    world.advance(1_000)
    after = metrics.values()
    assert after["minihs_futures_scheduled"] == 1
    assert after["minihs_futures_lateness_seconds_count"] == 1
    assert 0 <= after["minihs_futures_lateness_seconds_sum"] < 0.1
    assert after["minihs_rooms_in_memory"] == 1
    assert after["minihs_writer_group_seconds_count"] == after["minihs_writer_group_batches_count"] > 5
    assert after["minihs_writer_group_batches_sum"] >= after["minihs_writer_group_batches_count"]
    assert after["minihs_federation_pdus_sent_total"] >= 2
    assert after["minihs_federation_transactions_sent_total"] >= 2
    assert after["minihs_federation_destinations_failing"] == 0

    world.network.set_link(world["hs1"].host.address, world["hs2"].host.address, Link.REFUSING)
    alice.send(room_id, "nobody is there")
    world.advance(1_000)
    after = metrics.values()
    assert after["minihs_federation_destinations_failing"] == 1
    assert after["minihs_federation_destinations_busy"] == 0
    assert after["minihs_federation_transactions_failed_total"] == 1
    for secret in ("alice", "bob", "hs2", room_id):
        assert secret not in metrics.text()


def test_a_future_that_was_sent_by_hand_is_not_late() -> None:
    world = World("hs1")
    metrics = Scrape(world, "hs1")
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    path = f"/rooms/{quote(room_id)}/delayed_event/m.room.message/t"
    delay_id = alice.put(path, {"delay_ms": 60_000, "content": {"body": "x"}})["delay_id"]
    alice.post(f"/_matrix/client/v1/delayed_events/{delay_id}/send")
    assert alice.bodies(room_id) == ["x"]
    assert metrics.values()["minihs_futures_lateness_seconds_count"] == 0
    assert metrics.values()["minihs_futures_scheduled"] == 0
