"""A load generator: raw HTTP/1.1 over asyncio, cheap enough that the server is what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Timings:
    """Latencies in milliseconds."""

    values_ms: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The value below which `share` (0 to 1) of them lie."""
        ordered = sorted(self.values_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Failed(Exception):
    """A request was answered with an error."""


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = b""
        self.waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at < 0:
            if not rest.endswith(b"0\r\n\r\n"):
                return
            body = _dechunk(rest)
        else:
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
            if len(rest) < length:
                return
            body = rest[:length]
        self.buffer = b""
        waiting, self.waiting = self.waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(exc or ConnectionError("closed"))


def _dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        data = rest[length + 2 :]
        if length == 0:
            break
    return body


class Connection:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self.host, self.port, self.token = host, port, token
        self._protocol: _Protocol | None = None

    async def open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, self._protocol = await loop.create_connection(_Protocol, self.host, self.port)
        return self

    def encode(self, method: str, path: str, body: Any = None) -> bytes:
        """The bytes of a request; made beforehand where it is repeated."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send and wait for the answer; a connection that was closed is opened again once."""
        if (
            self._protocol is None
            or self._protocol.transport is None
            or self._protocol.transport.is_closing()
        ):
            await self.open()
        protocol = self._protocol
        assert protocol is not None
        assert protocol.transport is not None
        protocol.waiting = asyncio.get_running_loop().create_future()
        protocol.transport.write(request)
        return await protocol.waiting

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """The reply's JSON; Failed on errors."""
        status, data = await self.exchange(self.encode(method, path, body))
        if status >= 400:
            raise Failed(f"{method} {path}: {status} {data[:200]!r}")
        return json.loads(data) if data else None

    def close(self) -> None:
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.close()


@dataclass
class Result:
    """Requests that were answered with success, the seconds they took, and each one's latency."""

    count: int
    seconds: float
    timings: Timings

    @property
    def rate(self) -> float:
        return self.count / self.seconds


async def hammer(
    connections: Iterable[Connection], requests: Callable[[int], Iterator[bytes]], seconds: float
) -> Result:
    """Every connection sends its requests one after the other, for `seconds`."""
    timings = Timings()
    started = time.perf_counter()
    ends = started + seconds

    async def one(number: int, connection: Connection) -> int:
        count = 0
        for request in requests(number):
            before = time.perf_counter()
            if before >= ends:
                break
            status, data = await connection.exchange(request)
            if status >= 400:
                raise Failed(f"{status} {data[:200]!r}")
            timings.values_ms.append((time.perf_counter() - before) * 1000)
            count += 1
        return count

    counts = await asyncio.gather(*(one(number, each) for number, each in enumerate(connections)))
    return Result(sum(counts), time.perf_counter() - started, timings)
