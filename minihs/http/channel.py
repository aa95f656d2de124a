"""Bytes to requests, replies to bytes: Twisted's HTTP/1.1 channel with bounded bodies, one write per reply.

What a request means is decided in `site`; nothing here knows routes, tokens or JSON beyond a fixed error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from minihs.http.whole_request import WholeRequest, read_whole_request

DRAINED_BYTES = 4 * 1024 * 1024
"""How much of a body that is too large is read and thrown away, so that the client gets to read our refusal
instead of a reset connection; beyond it the connection is closed at once."""

_CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization\r\n"
)
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_heads: dict[tuple[int, bool, bool], bytes] = {}


# Twisted's own are untyped, or typed by interfaces that mypy cannot read.
_Request: Any = Request
_HTTPChannel: Any = HTTPChannel


class ApiHTTPRequest(_Request):  # type: ignore[misc]
    """One request on a connection; `respond` ends it."""

    channel: ApiChannel
    serving: Deferred[None] | None = None
    """The handling of this request, while it is under way."""
    gone: bool = False
    """The client is no longer there."""
    cancellable: bool = False
    """Its handler waits for something to happen, and may be told not to."""
    path_args: dict[str, str]
    refused: bool = False
    """It was answered before its body had arrived."""

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        self._chunks: list[bytes] = []
        self.received_bytes = 0
        self._max_bytes = self.channel.factory.max_body
        if length is not None and length > self._max_bytes + DRAINED_BYTES:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self.refused:
            return
        self.received_bytes += len(data)
        if self.received_bytes <= self._max_bytes:
            self._chunks.append(data)
        else:
            self._chunks.clear()
            if self.received_bytes > self._max_bytes + DRAINED_BYTES:
                self._refuse()

    def _refuse(self) -> None:
        self.refused = True
        self.channel.refuse(413, b"M_TOO_LARGE", b"The body of the request is far too large.")

    @property
    def raw_body(self) -> bytes:
        """The body; empty when it was larger than anything that is kept (see `received_bytes`)."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def parseCookies(self) -> None:  # noqa: N802
        """The API has no cookies."""

    def take(self, whole: WholeRequest) -> None:
        """Be this request, which came in one piece."""
        self.requestHeaders = whole.headers
        self._chunks = [whole.body]
        self.received_bytes = len(whole.body)
        self.requestReceived(whole.method, whole.target, b"HTTP/1.1")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        if self.refused:
            return
        if not path.startswith(b"/"):
            path = _origin_form(path)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self.raw_query = path.partition(b"?")
        self.channel.factory.serve(self)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        super().connectionLost(reason)
        self.gone = True
        self._forget_body()
        self.cancel()

    def _forget_body(self) -> None:
        # Twisted's requests and channels refer to each other, so that only a rare collection would free it.
        self._chunks = []

    def cancel(self) -> None:
        """End a handler that may be ended early."""
        if self.cancellable and self.serving is not None:
            self.serving.cancel()

    def respond(
        self,
        status: int,
        body: bytes,
        *,
        header_lines: bytes = b"",
        typed: bool = False,
        cors: bool = True,
    ) -> None:
        """Write the whole reply and end the request.

        `body` is JSON unless it is `typed` by the `header_lines`, each of which ends in CR LF.
        """
        self._forget_body()
        if self.gone:
            return
        parts = [_head(status, cors, not typed), header_lines]
        if not self.channel.persistent:
            parts.append(b"Connection: close\r\n")
        if status == 204:
            parts.append(b"\r\n")
        else:
            parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
            if self.method != b"HEAD":
                parts.append(body)
        self.startedWriting = 1
        self.channel.write(b"".join(parts))
        self.finish()


class ApiChannel(_HTTPChannel):  # type: ignore[misc]
    """One connection: HTTP/1.1 with keep-alive. What is no HTTP gets a Matrix error all the same."""

    requestFactory = ApiHTTPRequest  # noqa: N815
    factory: Any

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        # Twisted asks for both with each request; they stay the same.
        self._peer, self._host = self.transport.getPeer(), self.transport.getHost()
        self.peer: str = getattr(self._peer, "host", "")
        self.factory.channels[id(self)] = self

    def getPeer(self) -> Any:  # noqa: N802
        return self._peer

    def getHost(self) -> Any:  # noqa: N802
        return self._host

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        # Only between requests, when Twisted holds nothing back and nothing is under way.
        if not (self.requests or self._buffer or self._busyReceiving) and self.line_mode and self.persistent:
            whole = read_whole_request(data)
            if whole is not None and len(whole.body) <= self.factory.max_body:
                self._take(whole)
                return
        super().dataReceived(data)

    def _take(self, whole: WholeRequest) -> None:
        """What Twisted does when it has read the last line of a request."""
        request = self.requestFactory(self, False)
        self.requests.append(request)
        if self.timeOut:
            self._savedTimeOut = self.setTimeout(None)
        self._handlingRequest = True
        self.setRawMode()
        request.take(whole)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self.factory.channel_closed(self)
        super().connectionLost(reason)

    def close_when_idle(self) -> None:
        """Close the connection now, or after the reply that is under way."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()

    def refuse(self, status: int, errcode: bytes, sentence: bytes) -> None:
        """Answer what cannot become a request, and close the connection."""
        body = b'{"errcode":"%s","error":"%s"}' % (errcode, sentence)
        self.transport.write(
            _head(status, True, True) + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        self.persistent = False
        self.loseConnection()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802, ARG002
        self.refuse(431, b"M_TOO_LARGE", b"A line of the request's head is too long.")

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802
        self.refuse(400, b"M_UNKNOWN", b"This is not a well-formed HTTP request.")

    def _send100Continue(self) -> None:  # noqa: N802
        if not self.requests[-1].refused:
            super()._send100Continue()


def _origin_form(target: bytes) -> bytes:
    """The path and query of a target in absolute form, which a server must accept (RFC 9112, 3.2.2).

    Other servers sign path and query alone, however the target was written. What has neither form becomes a
    path that nothing is at.
    """
    absolute = _ABSOLUTE_FORM.match(target)
    rest = target if absolute is None else target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _head(status: int, cors: bool, json: bool) -> bytes:
    """Everything of a reply's head that does not change from one reply to the next."""
    head = _heads.get((status, cors, json))
    if head is None:
        head = b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, b"Unknown"))
        if json and status != 204:
            head += b"Content-Type: application/json\r\n"
        if cors:
            head += _CORS
        _heads[status, cors, json] = head
    return head


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they stand in a reply; ValueError for what would be more than a header."""
    lines = []
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise ValueError(f"the value of the header {name} has more than one line")
        lines.append(f"{name}: {value}\r\n".encode("latin-1"))
    return b"".join(lines)
