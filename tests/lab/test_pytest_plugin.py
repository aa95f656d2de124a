"""The pytest plugin: worlds for tests of other people's programs, and real HTTP on loopback on request."""

from __future__ import annotations

import json
import socket
import threading
from http.client import HTTPConnection
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


def raw(url: str, *parts: bytes) -> bytes:
    """What comes back for bytes, until the other side closes or says no more."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
        got = b""
        while b"\r\n\r\n" not in got and (data := connection.recv(65_536)):
            got += data
        return got


def test_bodies_in_chunks_arrive_as_they_were_sent(minihs: Minihs) -> None:
    world = minihs.world()
    head = b"POST /_matrix/client/v3/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'{"username":"bob","password":"a long password","auth":{"type":"m.login.dummy"}}'
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:20], body[20:])]
    answer = raw(minihs.listen(world, "hs1"), head, *chunks, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"@bob:hs1" in answer


def test_an_answer_to_head_has_no_body_and_the_next_one_is_read_as_it_is(minihs: Minihs) -> None:
    world = minihs.world()
    host, port = minihs.listen(world, "hs1").removeprefix("http://").split(":")
    client = HTTPConnection(host, int(port), timeout=10)
    for method in ("HEAD", "GET", "HEAD", "GET"):
        client.request(method, "/_matrix/client/versions")
        answer = client.getresponse()
        body = answer.read()
        assert (answer.status, body[:1]) == (200, b"{" if method == "GET" else b"")
    client.close()
    assert [each.method for each in world.wire.waiting()] == []
    alice = world.user("alice", on="hs1")
    assert alice.request("HEAD", "/_matrix/client/versions").body == b""
    assert alice.get("/_matrix/client/versions")["versions"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nContent-Length: zz\r\n\r\n", b"400"),
        (b"PATCH /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
    ],
    ids=["garbage", "length", "method", "good"],
)
def test_the_server_itself_answers_what_is_wrong(minihs: Minihs, request_: bytes, status: bytes) -> None:
    world = minihs.world()
    answer = raw(minihs.listen(world, "hs1"), request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"content-type: application/json" in answer.lower()
    world.advance(minutes=5)


def test_a_server_listens_at_one_url_however_often_it_is_asked(minihs: Minihs) -> None:
    one, other = minihs.world("hs1", "hs2"), minihs.world("hs1")
    url = minihs.listen(one, "hs1")
    assert minihs.listen(one, "hs1") == url
    assert len({url, minihs.listen(one, "hs2"), minihs.listen(other, "hs1")}) == 3


def test_a_client_of_a_server_that_was_killed_hears_so_at_once_and_finds_the_next_one(minihs: Minihs) -> None:
    world = minihs.world()
    url = minihs.listen(world, "hs1")
    token = registered(url)
    world["hs1"].crash()
    with pytest.raises(OSError, match="closed connection without response"):
        ask(url, "GET", "/_matrix/client/versions")
    world["hs1"].start()
    assert ask(url, "GET", "/_matrix/client/v3/account/whoami", None, token)["user_id"] == "@alice:hs1"


def test_clients_that_wait_or_do_not_read_hold_nothing_up(minihs: Minihs) -> None:
    world = minihs.world()
    url = minihs.listen(world, "hs1")
    token = registered(url)
    host, port = url.removeprefix("http://").split(":")
    head = f"GET /_matrix/client/v3/sync?timeout=30000&access_token={token} HTTP/1.1\r\nHost: x\r\n\r\n"
    before = threading.active_count()
    with socket.create_connection((host, int(port))) as waiting:
        waiting.sendall(head.encode())
        assert ask(url, "GET", "/_matrix/client/versions")["versions"]
        minihs.advance(world, minutes=1)
        waiting.setblocking(False)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")  # it is there once time has passed
        assert threading.active_count() > before
    minihs.close()
    assert threading.active_count() < before


def test_a_client_that_keeps_its_connection_does_not_lose_it_while_time_jumps(minihs: Minihs) -> None:
    world = minihs.world()
    host, port = minihs.listen(world, "hs1").removeprefix("http://").split(":")
    client = HTTPConnection(host, int(port), timeout=10)
    sockets = set()
    for _ in range(3):
        client.request("GET", "/_matrix/client/versions")
        answer = client.getresponse()
        assert answer.status == 200
        answer.read()
        sockets.add(client.sock)
        minihs.advance(world, hours=24)
    assert len(sockets) == 1
    client.request("GET", "/_matrix/client/versions", headers={"Connection": "close"})
    assert client.getresponse().read()
    client.close()
