"""A thousand requests in a row are answered with 429, by each dialect, and charged to whom they concern."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.futures.policies import FutureLimits
from tests.support.future_server import ALL, C, FutureServer

WITH_FUTURE_ID = ("future-id",)
TEXT = {"type": "m.room.message", "content": {"body": "x"}}


def schedule(server: FutureServer, room_id: str, dialect: str, txn: str) -> Any:
    """One request by which a dialect schedules."""
    send = f"{C}/v3/rooms/{room_id}/send"
    path, body = {
        "will-expire": (f"{send}/m.x/{txn}", {"m.will_expire": 60}),
        "batch": (f"{send}/future/{txn}", {"timeout": 60, "send_on_timeout": TEXT}),
        "tokens": (f"{C}/v1/rooms/{room_id}/send_future/m.x/{txn}?future_timeout=60000", {}),
        "tokens-on-send": (f"{send}/m.x/{txn}?future_timeout=60000", {}),
        "future-id": (f"{send}/m.x/{txn}?future_timeout=60000", {}),
    }[dialect]
    return server.put(path, body)


def heartbeat(server: FutureServer, dialect: str, reply: dict[str, Any]) -> Any:
    """One heartbeat of what a reply is about."""
    if dialect == "will-expire":
        body = {"expire_refresh_token": reply["expire_refresh_token"]}
        return server.put(f"{C}/v3/expiration/refresh", body, None)
    if dialect == "batch":
        return server.post(f"{C}/v3/futures/refresh", {"future_token": reply["future_token"]}, None)
    if dialect == "future-id":
        body = {"future_id": reply["future_id"], "action": "refresh"}
        return server.post(f"{C}/v1/update_future", body)
    return server.post(f"{C}/v1/future/{reply['refresh_token']}", token=None)


@pytest.fixture
def server(dialect: str) -> FutureServer:
    names = WITH_FUTURE_ID if dialect == "future-id" else ALL
    return FutureServer(dialects=names, rate_limits=True, limits=FutureLimits(max_scheduled=None))


DIALECTS = ["will-expire", "batch", "tokens", "tokens-on-send", "future-id"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_scheduling(server: FutureServer, dialect: str) -> None:
    room_id = server.create()
    statuses = [schedule(server, room_id, dialect, f"t{n}").status for n in range(300)]
    assert set(statuses) == {200, 429}
    assert 100 <= statuses.count(200) < 200, "the default share fits into one burst"
    stored = server.run(server._count("futures"))
    assert stored <= 2 * statuses.count(200)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_heartbeats(server: FutureServer, dialect: str) -> None:
    room_id = server.create()
    one, other = (schedule(server, room_id, dialect, txn).json for txn in "ab")
    statuses = [heartbeat(server, dialect, one).status for _ in range(400)]
    assert set(statuses) == {200, 429}
    if dialect != "future-id":  # which is charged to the user, by an access token
        assert heartbeat(server, dialect, other).status == 200, "another future is not concerned"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_over_is_limited_like_what_is_not(server: FutureServer, dialect: str) -> None:
    room_id = server.create()
    reply = schedule(server, room_id, dialect, "t").json
    server.pass_ms(61_000)
    statuses = [heartbeat(server, dialect, reply).status for _ in range(400)]
    assert set(statuses) == {410, 429}


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "future-id"])
def test_many_participants_behind_one_address_do_not_starve_each_other(
    server: FutureServer, dialect: str
) -> None:
    room_id = server.create()
    replies = [schedule(server, room_id, dialect, f"t{n}").json for n in range(100)]
    for _ in range(10):
        server.pass_ms(4_000)
        assert {heartbeat(server, dialect, reply).status for reply in replies} == {200}
