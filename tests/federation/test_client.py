"""Requests to other servers: bounded in time and size, on pooled connections; what failures are called."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from minihs.events.ids import ServerName
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.connecting import STAGGER_MS, CannotConnect, Connector, Target
from minihs.lab.memory_network import Link
from tests.support.federation import INITIAL_PAUSE_MS, Node, World

HS1, HS2 = ServerName("hs1.test"), ServerName("hs2.test")


class Scripted(World):
    """hs1, and in the place of hs2 something that answers each request with raw bytes."""

    def __init__(self, answer: Callable[[Protocol, bytes], None]) -> None:
        super().__init__()
        self.one = self.node(HS1)
        self.requests: list[bytes] = []
        self.connections = 0
        self.host = self.network.host("10.0.1.1", "hs2.test")
        world = self

        class Channel(Protocol):
            def connectionMade(self) -> None:  # noqa: N802
                world.connections += 1

            def dataReceived(self, data: bytes) -> None:  # noqa: N802
                world.requests.append(data)
                answer(self, data)

        factory = Factory.forProtocol(Channel)
        factory.noisy = False
        self.host.listen(factory, "", 8448, tls=True)

    def get(self, **bounds: Any) -> Any:
        return self.finish(self.one.client.get(HS2, "/x", {"a": ["1", "ü/"], "b": "2"}, **bounds))


def reply(body: bytes, status: str = "200 OK", headers: str = "") -> Callable[[Any, bytes], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return lambda channel, _: channel.transport.write(head + body)


def test_a_request_goes_out_with_its_host_query_and_signature() -> None:
    world = Scripted(reply(b'{"ok":true}'))
    assert world.get() == {"ok": True}
    head = world.requests[0].decode()
    assert head.startswith("GET /x?a=1&a=%C3%BC%2F&b=2 HTTP/1.1\r\n")
    assert "Host: hs2.test\r\n" in head
    assert 'Authorization: X-Matrix origin="hs1.test",destination="hs2.test",key="ed25519:' in head


@pytest.mark.parametrize(
    "path", ["/x/%21a%3Ab/%2F", "/x/!a:b$~'(),;=@", "/x//y/?q=a%20b+c&q=%e2%82%ac", "/x/%zz"]
)
def test_a_path_goes_out_byte_for_byte_as_it_was_signed(path: str) -> None:
    world = Scripted(reply(b"{}"))
    world.finish(world.one.client.get(HS2, path))
    assert world.requests[0].startswith(f"GET {path} HTTP/1.1\r\n".encode())


def test_answers_are_asked_for_uncompressed_and_refused_otherwise() -> None:
    world = Scripted(reply(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n"))
    with pytest.raises(Unreachable, match="compressed"):
        world.get()
    assert b"accept-encoding: identity\r\n" in world.requests[0].lower()
    world = Scripted(reply(b"{}", headers="Content-Encoding: identity\r\n"))
    assert world.get() == {}


def test_cookies_are_not_kept() -> None:
    world = Scripted(reply(b"{}", headers="Set-Cookie: a=b; Path=/\r\n"))
    world.get()
    world.get()
    assert b"cookie" not in world.requests[1].lower()


def test_a_body_is_canonical_json() -> None:
    world = Scripted(reply(b"{}"))
    world.finish(world.one.client.put(HS2, "/x", {"b": 1, "a": "ü"}))
    assert world.requests[-1].endswith('{"a":"ü","b":1}'.encode())
    assert b"Content-Type: application/json\r\n" in world.requests[0]


def test_connections_are_kept_and_used_again() -> None:
    world = Scripted(reply(b"{}"))
    for _ in range(3):
        world.get()
    assert (len(world.requests), world.connections) == (3, 1)


def test_a_pooled_connection_that_died_unnoticed_is_replaced_and_the_request_repeated() -> None:
    answers = [0]

    def first_then_hang_up(channel: Any, _: bytes) -> None:
        answers[0] += 1
        if answers[0] == 2:
            channel.transport.loseConnection()
        else:
            channel.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    world = Scripted(first_then_hang_up)
    world.get()
    assert world.finish(world.one.client.put(HS2, "/x", {})) == {}
    assert world.connections == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda channel, _: None, "no answer within 5000 ms"),
        (
            lambda channel, _: channel.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            "no answer within 5000 ms",
        ),
        (reply(b"x" * 2_000), "at most 1000"),
        (
            lambda channel, _: channel.transport.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
            ),
            "more than 1000 bytes",
        ),
        (lambda channel, _: channel.transport.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000), "Conn"),
        (lambda channel, _: channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 9_000), "Connection"),
        (lambda channel, _: channel.transport.write(b"SSH-2.0-OpenSSH\r\n\r\n"), "hs2.test cannot be"),
        (lambda channel, _: channel.transport.loseConnection(), "Connection"),
        (reply(b"no JSON"), "not a JSON object"),
        (reply(b"[]"), "not a JSON object"),
        (reply(b"[" * 900), "not a JSON object"),
        (reply(b"{}", "302 Found", "Location: https://elsewhere.test/\r\n"), None),
    ],
    ids=[
        "silent", "slow body", "large", "endless", "endless head",
        "endless heads", "no HTTP", "hang up", "no JSON", "list", "deep",
        "redirect",
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_is_named(answer: Any, reason: str | None) -> None:
    world = Scripted(answer)
    if reason is None:
        with pytest.raises(RemoteRefusal, match="302"):
            world.get()
        return
    with pytest.raises(Unreachable, match=reason):
        world.get(timeout_ms=5_000, max_bytes=1_000)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_long_answer_may_come_in_pieces_and_after_an_interim_one(size: int) -> None:
    body = b'{"a":1}' + b"\n\n" * 40_000
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)

    def in_pieces(channel: Any, _: bytes) -> None:
        for start in range(0, len(head), size):
            world.clock.call_later(start + 1, channel.transport.write, head[start : start + size])
        world.clock.call_later(1_000, channel.transport.write, body)

    world = Scripted(in_pieces)
    assert world.get() == {"a": 1}


@pytest.mark.parametrize(
    ("body", "errcode", "error"),
    [
        (b'{"errcode":"M_FORBIDDEN","error":"no"}', "M_FORBIDDEN", "no"),
        (b'{"errcode":5}', "M_UNKNOWN", "hs2.test answered 403."),
        (b"<html>", "M_UNKNOWN", "hs2.test answered 403."),
    ],
)
def test_a_refusal_carries_what_the_other_server_said(body: bytes, errcode: str, error: str) -> None:
    with pytest.raises(RemoteRefusal) as refusal:
        Scripted(reply(body, "403 Forbidden")).get()
    assert (refusal.value.status, refusal.value.errcode, refusal.value.error) == (403, errcode, error)


def test_a_server_that_failed_is_left_alone_unless_that_is_to_be_ignored() -> None:
    world = Scripted(reply(b"{}", "503 Unavailable"))
    with pytest.raises(RemoteRefusal):
        world.get()
    with pytest.raises(Unreachable, match="left alone") as refusal:
        world.get()
    assert refusal.value.retry_in_ms is not None
    assert refusal.value.retry_in_ms <= INITIAL_PAUSE_MS
    with pytest.raises(RemoteRefusal):
        world.get(ignore_backoff=True)
    assert len(world.requests) == 2


def test_a_server_that_asks_for_time_gets_it() -> None:
    world = Scripted(reply(b"{}", "429 Too Many Requests", "Retry-After: 30\r\n"))
    with pytest.raises(RemoteRefusal):
        world.get()
    pause = world.one.retries.pause_of(HS2)
    assert pause is not None
    assert round(pause.retry_at_ms - pause.last_attempt_ms) == 30_000


def test_a_plain_refusal_is_no_reason_to_leave_a_server_alone() -> None:
    world = Scripted(reply(b"{}", "403 Forbidden"))
    with pytest.raises(RemoteRefusal):
        world.get()
    assert world.one.retries.pause_of(HS2) is None


@pytest.mark.parametrize("name", ["bad name", "hs2.test:0", "missing.test"])
def test_names_that_lead_nowhere_are_unreachable(name: str) -> None:
    world = Scripted(reply(b"{}"))
    with pytest.raises(Unreachable):
        world.finish(world.one.client.get(ServerName(name), "/x"))


def test_a_server_does_not_talk_to_itself() -> None:
    world = Scripted(reply(b"{}"))
    with pytest.raises(Unreachable, match="to itself"):
        world.finish(world.one.client.get(HS1, "/x"))


def test_a_certificate_for_another_name_is_refused() -> None:
    world = World()
    one = world.node(HS1)
    world.network.host("10.0.2.1", "hs2.test").names = ("hs2.test",)
    liar = Node(world.network, world.network.host("10.0.2.2", "liar.test"), "liar.test")
    liar.listen()
    # DNS says that hs2.test is there, but the machine proves only its own name.
    one.host.resolver.addresses = lambda _: _succeed(["10.0.2.2"])  # type: ignore[method-assign]
    with pytest.raises(Unreachable, match=r"does not prove hs2\.test"):
        world.finish(one.client.get(HS2, "/_matrix/federation/v1/version"))


def _succeed(result: Any) -> Any:
    from twisted.internet.defer import succeed

    return succeed(result)


def test_the_next_address_is_tried_when_the_first_one_is_silent_or_refuses() -> None:
    for link in (Link.SILENT, Link.REFUSING):
        world = World()
        one = world.node(HS1)
        dead = world.network.host("10.0.3.1", "hs2.test")
        name = ServerName("hs2.test:8448")
        two = Node(world.network, world.network.host("10.0.3.2", "hs2.test"), name)
        two.listen()
        world.network.set_link(one.host.address, dead.address, link)
        before = world.clock.monotonic_ms()
        world.finish(one.client.get(name, "/_matrix/federation/v1/version"))
        assert world.clock.monotonic_ms() - before < STAGGER_MS + 100


def test_a_target_that_cannot_be_resolved_or_is_dead_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    one = world.node(HS1)
    name = ServerName("hs2.test:8448")
    two = Node(world.network, world.network.host("10.0.3.2", "hs2.test"), name)
    two.listen()
    network_addresses = one.host.resolver.addresses

    def addresses(host: str) -> Any:
        if host == "gone.test":
            raise_later: Any = Deferred()
            raise_later.errback(TimeoutError("no DNS"))
            return raise_later
        if host == "dead.test":
            return _succeed([f"10.0.4.{number}" for number in range(20)] + ["fd00::1"])
        return network_addresses(host)

    one.host.resolver.addresses = addresses  # type: ignore[method-assign]
    connector = Connector(one.host, world.clock, allow_private_addresses=True)
    asked: list[str] = []
    tls_client = one.host.tls_client

    def recorded(address: str, *rest: Any) -> Any:
        asked.append(address)
        return tls_client(address, *rest)

    monkeypatch.setattr(one.host, "tls_client", recorded)
    targets = [Target("gone.test", 8448), Target("dead.test", 8448), Target("hs2.test", 8448)]
    world.finish(connector.connect(targets, "hs2.test", cast(Any, Factory).forProtocol(Protocol)))
    assert asked == ["10.0.4.0", "fd00::1", "10.0.4.1", "10.0.4.2", "10.0.3.2"]
    with pytest.raises(CannotConnect, match=r"gone\.test cannot be resolved"):
        world.finish(connector.connect(targets[:1], "hs2.test", cast(Any, Factory).forProtocol(Protocol)))


def test_requests_to_many_servers_do_not_wait_for_one_another() -> None:
    world = World()
    one, two = world.node(HS1), world.node(HS2)
    silent = world.node("silent.test")
    world.network.set_link(one.host.address, silent.host.address, Link.SILENT)
    from tests.support.deferreds import start

    waiting = start(one.client.get(ServerName("silent.test"), "/x", timeout_ms=30_000))
    waiting.addErrback(lambda _: None)
    assert world.finish(one.client.get(two.name, "/_matrix/federation/v1/version"), within_ms=1_000)
    assert not waiting.called
    world.pass_time(31_000)
    assert waiting.called
