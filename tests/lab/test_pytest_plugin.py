"""The pytest plugin: worlds for tests of other people's programs, and real HTTP on loopback on request."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from minihs.lab.pytest_plugin import Minihs, minihs

__all__ = ["minihs"]


def ask(url: str, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    """A client that knows nothing of this project."""
    request = Request(url + path, method=method, data=None if body is None else json.dumps(body).encode())
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def registered(url: str) -> str:
    body = {"username": "alice", "password": "a long password", "auth": {"type": "m.login.dummy"}}
    return str(ask(url, "POST", "/_matrix/client/v3/register", body)["access_token"])


def test_every_world_is_fresh_and_takes_what_a_world_takes(minihs: Minihs) -> None:
    one = minihs.world("hs1", "hs2", seed=5, settings={"futures.max_scheduled": 1})
    assert list(one.servers) == ["hs1", "hs2"]
    one.user("alice", on="hs1")
    assert minihs.world().people == {}


def test_a_real_http_client_sees_a_24_hour_delay_end_at_once(minihs: Minihs) -> None:
    world = minihs.world("hs1")
    url = minihs.listen(world, "hs1")
    token = registered(url)
    room_id = ask(url, "POST", "/_matrix/client/v3/createRoom", {}, token)["room_id"]
    base = f"/_matrix/client/v3/rooms/{room_id}"
    plan = {"delay_ms": 86_400_000, "content": {"msgtype": "m.text", "body": "tomorrow"}}
    ask(url, "PUT", f"{base}/delayed_event/m.room.message/t", plan, token)
    seen: list[str] = []

    def sync_loop() -> None:
        since = ""
        while not seen:
            path = f"/_matrix/client/v3/sync?timeout=600000{since}"
            reply = ask(url, "GET", path, None, token)
            since = f"&since={reply['next_batch']}"
            events = (
                reply.get("rooms", {}).get("join", {}).get(room_id, {}).get("timeline", {}).get("events", ())
            )
            seen.extend(event["content"]["body"] for event in events if event["type"] == "m.room.message")

    client = threading.Thread(target=sync_loop)
    client.start()
    minihs.advance(world, hours=23)
    assert seen == []
    for _ in range(200):  # while the client goes on asking
        minihs.advance(world, hours=1)
        client.join(timeout=0.05)
        if not client.is_alive():
            break
    assert seen == ["tomorrow"]


def test_refusals_reach_the_client_as_they_are(minihs: Minihs) -> None:
    url = minihs.listen(minihs.world(), "hs1")
    with pytest.raises(HTTPError) as caught:
        ask(url, "GET", "/_matrix/client/v3/account/whoami")
    assert (caught.value.code, json.load(caught.value)["errcode"]) == (401, "M_MISSING_TOKEN")


def test_nobody_listens_when_the_test_is_over() -> None:
    made = Minihs()
    url = made.listen(made.world(), "hs1")
    made.close()
    with pytest.raises(OSError, match="refused"):
        ask(url, "GET", "/_matrix/client/versions")
