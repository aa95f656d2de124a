"""A small HTTP/1.1 client for the people of a world: one request at a time on each connection, kept alive.

Servers ask one another with their own client; this one speaks for Matrix clients only.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from minihs.platform.clock import Clock
from minihs.platform.network import Network

PATIENCE_MS = 90_000
"""How long a client waits for an answer when nothing else is said."""


class RequestFailed(Exception):
    """No answer came: the server is down, the network is, or it took too long."""


class Response(msgspec.Struct, frozen=True):
    """An answer. `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return msgspec.json.decode(self.body)

    @property
    def errcode(self) -> str | None:
        """The Matrix error code, when there is one."""
        return self.json.get("errcode") if self.status >= 400 and self.body else None

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400


class HttpClient:
    """Requests from one machine to one listener."""

    def __init__(self, network: Network, clock: Clock, address: str, port: int) -> None:
        self._network = network
        self._clock = clock
        self._address = address
        self._port = port
        self._idle: list[_Connection] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        patience_ms: float = PATIENCE_MS,
    ) -> Response:
        """The answer to one request; RequestFailed when none comes within `patience_ms`."""
        data = encode_request(method, path, json=json, body=body, token=token, headers=headers)
        answer = Deferred.fromCoroutine(self._ask(data))
        answer.addTimeout(patience_ms / 1000, cast(Any, self._clock))
        try:
            return await answer
        except Exception as problem:
            if isinstance(problem, RequestFailed):
                raise
            raise RequestFailed(f"{method} {path}: {type(problem).__name__}") from problem

    async def _ask(self, data: bytes) -> Response:
        connection = await self._connection()
        response = await connection.ask(data)
        if connection.usable:
            self._idle.append(connection)
        return response

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        endpoint: Any = self._network.tcp_client(self._address, self._port)
        factory = Factory.forProtocol(_Connection)
        factory.noisy = False
        return cast(_Connection, await endpoint.connect(factory))

    def close(self) -> None:
        """Close the connections that nobody is using."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.drop()


class _Connection(Protocol):
    usable = True

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: Deferred[Response] | None = None
        self._asked_head = False

    def ask(self, data: bytes) -> Deferred[Response]:
        self._asked_head = data.startswith(b"HEAD ")
        self._waiting = Deferred(self._given_up)
        cast(Any, self.transport).write(data)
        return self._waiting

    def drop(self) -> None:
        self.usable = False
        cast(Any, self.transport).loseConnection()

    def _given_up(self, _waiting: Deferred[Response]) -> None:
        self._waiting = None
        self.usable = False
        cast(Any, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = chunks_length(rest) if chunked else int(headers.get("content-length", "0"))
        if self._asked_head:  # it has no body, whatever it says (RFC 9110, 9.3.2)
            chunked, length = False, 0
        if length is None or len(rest) < length:
            return
        body = join_chunks(rest[:length]) if chunked else rest[:length]
        self._buffer = rest[length:]
        if headers.get("connection") == "close":
            self.usable = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(Response(int(status_line.split(" ")[1]), headers, body))

    def connectionLost(self, reason: Failure = cast(Failure, None)) -> None:  # noqa: N802, B008
        self.usable = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(RequestFailed(f"the connection broke: {reason.getErrorMessage()}"))


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
        body = msgspec.json.encode(json)
    lines = [f"{method} {path} HTTP/1.1", "Host: minihs.lab"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def chunks_length(buffer: bytes) -> int | None:
    """The bytes of a whole body in chunks, without trailers; None while there is more to come."""
    at = 0
    while (end := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:end].split(b";")[0], 16)
        at = end + 4 + size
        if size == 0:
            return at if len(buffer) >= at else None
    return None


def join_chunks(body: bytes) -> bytes:
    """The content of a whole body in chunks."""
    content: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(content)
        content.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size


def with_query(path: str, query: Any) -> str:
    """`path` with a query string; `query` is a mapping or a list of pairs."""
    return path if not query else f"{path}?{urlencode(query)}"


def in_path(text: str) -> str:
    """A path segment."""
    return quote(text, safe="")
