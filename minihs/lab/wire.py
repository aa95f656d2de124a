"""What went over the wire: every HTTP exchange of a world, read along on its connections; and the sums.

Nothing inside a server is asked: PDUs and EDUs are counted in the bodies that were delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from minihs.lab.http_client import chunks_length
from minihs.platform.clock import Clock

FEDERATION_SEND = b"/_matrix/federation/v1/send/"


class Exchange(msgspec.Struct):
    """One request and its answer. `source` and `target` are the labels of the two machines."""

    number: int
    source: str
    target: str
    method: str
    path: str
    """With its query."""
    at_ms: float
    request_bytes: int = 0
    pdus: int = 0
    edus: int = 0
    pdu_types: tuple[str, ...] = ()
    pdu_rooms: tuple[str, ...] = ()
    status: int | None = None
    """None: no answer has arrived (yet)."""
    errcode: str | None = None
    response_bytes: int = 0
    answered_ms: float | None = None
    lost: bool = False
    """The connection ended first."""

    @property
    def is_federation(self) -> bool:
        return self.path.startswith("/_matrix/federation/") or self.path.startswith("/_matrix/key/")

    @property
    def under_way(self) -> bool:
        return self.status is None and not self.lost


class Traffic(msgspec.Struct):
    """Sums over one direction between two machines."""

    requests: int = 0
    pdus: int = 0
    edus: int = 0
    bytes: int = 0
    """Heads and bodies, both ways, without TLS and TCP."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.requests + other.requests,
            self.pdus + other.pdus,
            self.edus + other.edus,
            self.bytes + other.bytes,
        )

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.requests - other.requests,
            self.pdus - other.pdus,
            self.edus - other.edus,
            self.bytes - other.bytes,
        )


class WireLog:
    """Reads along on every connection of a network.

    `label` names the machine at an address. `keep` exchanges are kept for reading; the sums are of all.
    """

    def __init__(
        self,
        clock: Clock,
        label: Callable[[str], str],
        *,
        on_answer: Callable[[Exchange], None] = lambda _exchange: None,
    ) -> None:
        self._clock = clock
        self._label = label
        self._on_answer = on_answer
        self._number = 0
        self._traffic: dict[tuple[str, str], Traffic] = {}
        self.under_way: dict[int, Exchange] = {}
        self.on_request: list[Callable[[Exchange], None]] = []
        """Called when a whole request has arrived."""

    def connected(self, client: str, server: str, port: int) -> _Reading:  # noqa: ARG002
        return _Reading(self, self._label(client), self._label(server))

    @property
    def count(self) -> int:
        """How many requests there were so far."""
        return self._number

    def traffic(self) -> dict[tuple[str, str], Traffic]:
        """The sums so far by (source, target), sorted; the same object is never changed again."""
        return {key: self._traffic[key] + Traffic() for key in sorted(self._traffic)}

    def between(self, sources: Collection[str], targets: Collection[str]) -> Traffic:
        """The sums so far from some machines to others."""
        total = Traffic()
        for (source, target), traffic in sorted(self._traffic.items()):
            if source in sources and target in targets:
                total += traffic
        return total

    def waiting(self) -> list[Exchange]:
        """Requests without an answer, in order."""
        return list(self.under_way.values())

    # What readings call.

    def begun(self, source: str, target: str, head: bytes) -> Exchange:
        method, path = _request_line(head)
        self._number += 1
        exchange = Exchange(self._number, source, target, method, path, self._clock.monotonic_ms())
        self.under_way[exchange.number] = exchange
        return exchange

    def sent(self, exchange: Exchange, count: int, body: bytes) -> None:
        exchange.request_bytes = count
        if exchange.method == "PUT" and exchange.path.startswith(FEDERATION_SEND.decode()):
            _count_contents(exchange, body)
        traffic = self._of(exchange)
        traffic.requests += 1
        traffic.pdus += exchange.pdus
        traffic.edus += exchange.edus
        traffic.bytes += count
        for heard in self.on_request:
            heard(exchange)

    def answered(self, exchange: Exchange, status: int, count: int, body: bytes) -> None:
        exchange.status = status
        exchange.response_bytes = count
        exchange.answered_ms = self._clock.monotonic_ms()
        if status >= 400:
            exchange.errcode = _errcode(body)
        self._of(exchange).bytes += count
        self.under_way.pop(exchange.number, None)
        self._on_answer(exchange)

    def _of(self, exchange: Exchange) -> Traffic:
        key = (exchange.source, exchange.target)
        traffic = self._traffic.get(key)
        if traffic is None:
            traffic = self._traffic[key] = Traffic()
        return traffic


class _Reading:
    """Both directions of one connection."""

    def __init__(self, log: WireLog, source: str, target: str) -> None:
        self._log = log
        self._source = source
        self._target = target
        self._waiting: list[Exchange] = []
        self._requests = _Messages(self._request, _content_length)
        self._answers = _Messages(self._answer, self._answer_length)

    def sent(self, data: bytes) -> None:
        self._requests.feed(data)

    def answered(self, data: bytes) -> None:
        self._answers.feed(data)

    def _answer_length(self, head: bytes) -> int | None:
        """The length of an answer's body: that to HEAD has none, whatever it says (RFC 9110, 9.3.2)."""
        asked_head = bool(self._waiting) and self._waiting[0].method == "HEAD"
        return 0 if asked_head else _content_length(head)

    def _request(self, head: bytes, body: bytes, count: int) -> None:
        exchange = self._log.begun(self._source, self._target, head)
        self._waiting.append(exchange)
        self._log.sent(exchange, count, body)

    def _answer(self, head: bytes, body: bytes, count: int) -> None:
        status = int(head[9:12])
        if status < 200 or not self._waiting:
            return
        self._log.answered(self._waiting.pop(0), status, count, body)

    def ended(self) -> None:
        """The connection is gone: what was asked on it is not answered any more."""
        for exchange in self._waiting:
            exchange.lost = True
            self._log.under_way.pop(exchange.number, None)
        self._waiting.clear()


class _Messages:
    """Cuts one direction of a connection into HTTP messages: `each(head, body, bytes in all)`. `length` is
    that of the body behind a head. After something that is no HTTP nothing is read."""

    def __init__(
        self, each: Callable[[bytes, bytes, int], None], length: Callable[[bytes], int | None]
    ) -> None:
        self._each = each
        self._length = length
        self._lost = False
        self._buffer = b""
        self._head: bytes | None = None
        self._body_length: int | None = 0

    def feed(self, data: bytes) -> None:
        if not self._lost:
            try:
                self._read(data)
            except (ValueError, IndexError):
                self._lost, self._buffer = True, b""

    def _read(self, data: bytes) -> None:
        self._buffer += data
        while True:
            if self._head is None:
                head, separator, rest = self._buffer.partition(b"\r\n\r\n")
                if not separator:
                    return
                self._head, self._buffer = head, rest
                self._body_length = self._length(head)
            length = self._body_length
            if length is None:
                length = chunks_length(self._buffer)
            if length is None or len(self._buffer) < length:
                return
            head, body = self._head, self._buffer[:length]
            self._head, self._buffer = None, self._buffer[length:]
            self._each(head, body, len(head) + 4 + len(body))


def _content_length(head: bytes) -> int | None:
    """The length of the body; None when it comes in chunks."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        return None if b"\r\ntransfer-encoding: chunked" in lower else 0
    return int(head[at + 17 :].split(b"\r\n", 1)[0])


def _request_line(head: bytes) -> tuple[str, str]:
    method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return method, path


class _SendBody(msgspec.Struct):
    pdus: list[dict[str, Any]] = []
    edus: list[msgspec.Raw] = []


_decode_send = msgspec.json.Decoder(_SendBody).decode


def _count_contents(exchange: Exchange, body: bytes) -> None:
    try:
        contents = _decode_send(body)
    except msgspec.DecodeError:
        return
    exchange.pdus, exchange.edus = len(contents.pdus), len(contents.edus)
    exchange.pdu_types = tuple(str(pdu.get("type")) for pdu in contents.pdus)
    exchange.pdu_rooms = tuple(str(pdu.get("room_id")) for pdu in contents.pdus)


def _errcode(body: bytes) -> str | None:
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return decoded.get("errcode") if isinstance(decoded, dict) else None
