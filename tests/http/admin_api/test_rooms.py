"""The administrator's commands about rooms, over the routes of the socket in the data directory."""

from __future__ import annotations

from urllib.parse import quote

from minihs.http.admin_api.rooms import ROOMS
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.server import admin_routes
from tests.support.http import HttpDriver
from tests.support.world import World


def test_a_room_is_removed_when_all_have_left_it_and_refused_before() -> None:
    world = World("hs1")
    parts = world["hs1"].server.parts
    site = ApiFactory(Router(admin_routes(parts)), clock=parts.clock, limiter=parts.limiter, local=True)
    driver = HttpDriver(site, world.clock)
    alice = world["hs1"].user("alice")
    room_id = alice.create_room()
    path = f"{ROOMS}/{quote(room_id)}/purge"
    refused = driver.request("POST", path, json={})
    assert refused.status == 400
    assert "They must leave first" in refused.json["error"]
    alice.send(room_id, "still here")
    alice.leave(room_id)
    assert driver.request("POST", path, json={}).status == 200
    assert alice.request("GET", f"/rooms/{quote(room_id)}/state").status == 403
    assert "rooms" not in alice.sync(filter='{"room":{"include_leave":true}}')
    again = driver.request("POST", path, json={})
    assert (again.status, again.errcode) == (404, "M_NOT_FOUND")
    assert f"nothing of a room {room_id}" in again.json["error"]
    assert driver.request("POST", f"{ROOMS}/nothing/purge", json={}).errcode == "M_INVALID_PARAM"
    world.stop()
