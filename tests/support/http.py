"""Drives a site in memory: real bytes through the real channel, no sockets, virtual time.

Every response is checked on the way: JSON, and an errcode on each failure.
"""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from minihs.http.site import ApiFactory
from minihs.platform.clock import VirtualClock

PATIENCE_MS = 2_000


@dataclass(frozen=True)
class Response:
    """One response. `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def errcode(self) -> str | None:
        return self.json.get("errcode") if self.body else None


class Transport(StringTransport):
    """A connection from `host`, which can be aborted."""

    def __init__(self, host: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, 40000))

    def abortConnection(self) -> None:  # noqa: N802
        self.loseConnection()


@dataclass
class Connection:
    """One open connection to the site."""

    factory: ApiFactory
    clock: VirtualClock
    host: str = "127.0.0.1"
    transport: Transport = field(init=False)
    channel: Any = field(init=False)

    def __post_init__(self) -> None:
        self.transport = Transport(self.host)
        self.channel = self.factory.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def take(self) -> Response | None:
        """The next complete response, or None while there is none."""
        data = self.transport.value()
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            return None
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self.transport.clear()
        self.transport.write(rest[length:])
        return Response(int(status_line.split(" ")[1]), headers, rest[:length])

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting)

    def drop(self) -> None:
        """The client goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))


class HttpDriver:
    """A client of one site."""

    def __init__(self, factory: ApiFactory, clock: VirtualClock) -> None:
        self.factory = factory
        self.clock = clock

    def start(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> Connection:
        """Send a request on a connection of its own and return at once; `finish` waits for the reply."""
        connection = Connection(self.factory, self.clock, host)
        connection.send(encode_request(method, path, json=json, body=body, token=token, headers=headers))
        return connection

    def finish(self, connection: Connection, patience_ms: int = PATIENCE_MS) -> Response:
        """The reply, turning the clock on by up to `patience_ms` while there is none."""
        waited_ms = 0
        turns = 0
        while (response := connection.take()) is None:
            turns += 1
            if turns <= 20:
                self.clock.advance(0)
            else:
                assert waited_ms < patience_ms, "no response"
                self.clock.advance(0.001)
                waited_ms += 1
        check_response(response)
        return response

    def request(self, method: str, path: str, **details: Any) -> Response:
        """Send a request and wait for its reply."""
        connection = self.start(method, path, **details)
        response = self.finish(connection)
        connection.drop()
        return response


def encode_request(
    method: str,
    path: str,
    *,
    json: Any = None,
    body: bytes | None = None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of an HTTP/1.1 request."""
    if json is not None:
        body = jsonlib.dumps(json).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: hs.test"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def check_response(response: Response) -> None:
    """What holds for every response of the API."""
    if response.status == 204 or not response.body:
        return
    if response.headers.get("content-type") == "application/json":
        decoded = response.json
        if response.status >= 400 and not (response.status == 401 and "flows" in decoded):
            assert isinstance(decoded["errcode"], str), decoded
            assert isinstance(decoded["error"], str), decoded
    else:
        assert response.status < 400, response
