"""Outgoing HTTP: request bodies, and answers that are bounded in size, heads included.

No addresses and no Matrix here.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IConsumer, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer

from minihs.platform.clock import Clock

MAX_HEAD_BYTES = 64 * 1024
"""Status line and headers of an answer, with those of `100 Continue` and the like before it."""


class BodyTooLarge(Exception):
    """The other side sends more than we are willing to read; the connection was cut."""


@implementer(IBodyProducer)
class BytesBody:
    """A request body that is already in memory, written in one piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802
        cast(Any, consumer).write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802
        """Nothing to pause: everything was written at once."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Nothing to resume."""

    def stopProducing(self) -> None:  # noqa: N802
        """Nothing to stop."""


class CompressedAnswer(Exception):
    """The other side compressed its answer although it was asked not to."""


async def ask(
    agent: Any, clock: Clock, method: str, url: bytes, headers: Headers, body: bytes | None = None
) -> IResponse:
    """Send one request through `agent`, with treq; the body of the answer is left to `read_body`.

    Redirects are answers like others, cookies are not kept, and nothing is unpacked. Fails with
    CompressedAnswer, or with what went wrong on the way.
    """
    from treq.client import HTTPClient  # late, see `late_agent`

    response = await HTTPClient(cast(Any, _AsItIs(agent, url))).request(
        method,
        url.decode("ascii"),
        headers=headers,
        data=cast(Any, None if body is None else BytesBody(body)),
        allow_redirects=False,
        unbuffered=True,
        reactor=cast(Any, clock),
    )
    return cast(IResponse, response)


class _AsItIs:
    """Under treq: the URL goes out byte for byte, because it is signed, and answers come uncompressed.

    A small compressed answer could unpack to any size.
    """

    def __init__(self, agent: Any, url: bytes) -> None:
        self._agent = agent
        self._url = url

    def request(self, method: bytes, _url: bytes, headers: Any = None, body: Any = None) -> Deferred[Any]:
        headers.setRawHeaders(b"accept-encoding", [b"identity"])
        answering: Deferred[Any] = self._agent.request(method, self._url, headers, body)
        return answering.addCallback(_uncompressed)


def _uncompressed(response: Any) -> Any:
    encodings = response.headers.getRawHeaders(b"content-encoding") or []
    if all(encoding.strip().lower() in (b"", b"identity") for encoding in encodings):
        return response
    collector = _Collector(0)
    response.deliverBody(collector)
    collector.cut()
    collector.done.addErrback(lambda _failure: None)
    raise CompressedAnswer("The answer is compressed, although it was asked for as it is.")


def read_body(response: IResponse, max_bytes: int) -> Deferred[bytes]:
    """The whole body of `response`. Fails with BodyTooLarge, or with what broke the connection.

    Cancelling it cuts the connection.
    """
    answer = cast(Any, response)
    if answer.length is not UNKNOWN_LENGTH and answer.length > max_bytes:
        discard = _Collector(0)
        answer.deliverBody(discard)
        discard.cut()
        discard.done.addErrback(lambda _failure: None)
        return fail(BodyTooLarge(f"The answer has {answer.length} bytes; at most {max_bytes} are read."))
    collector = _Collector(max_bytes)
    answer.deliverBody(collector)
    return collector.done


def with_bounded_head(factory: IProtocolFactory) -> Any:
    """`factory`, an HTTP client's, whose connections are cut when the head of an answer grows too large.

    Twisted's client bounds each line of a head but not their number. The protocols that come out have the
    client's under `wrappedProtocol`.
    """
    quiet: Any = factory
    quiet.noisy = False
    guarding: Any = cast(Any, WrappingFactory)(factory)
    guarding.noisy = False
    guarding.protocol = _HeadGuard
    return guarding


class _HeadGuard(ProtocolWrapper):
    """Counts what arrives between a request and the end of its answer's head."""

    _in_head = False
    _head_bytes = 0
    _start = b""  # of the status line
    _last = b""  # the last byte, carriage returns left out

    def write(self, data: bytes) -> None:
        self._expect_head()
        cast(Any, super()).write(data)

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        self._expect_head()
        cast(Any, super()).writeSequence(data)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self._in_head and not self._within_bounds(data):
            cast(Any, self.transport).abortConnection()
            return
        cast(Any, super()).dataReceived(data)

    def _expect_head(self) -> None:
        if not self._in_head:
            self._in_head, self._head_bytes, self._start, self._last = True, 0, b"", b""

    def _within_bounds(self, data: bytes) -> bool:
        rest = data
        while self._in_head and rest:
            text = self._last + rest.replace(b"\r", b"")
            self._start = (self._start + rest[:12])[:12]
            end = text.find(b"\n\n")
            if end < 0:
                self._last = text[-1:]
                self._head_bytes += len(rest)
                break
            self._head_bytes += end + 2
            # After an interim answer (1xx) comes another head, which shares the bound.
            self._in_head = self._start[8:10] == b" 1"
            rest, self._start, self._last = text[end + 2 :], b"", b""
        return self._head_bytes <= MAX_HEAD_BYTES


class _Collector(Protocol):
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0
        self.done: Deferred[bytes] = Deferred(lambda _: self.cut())

    def cut(self) -> None:
        if self.transport is not None:
            # What Twisted hands to the readers of a body can abort in some releases and only lose in others.
            transport = cast(Any, self.transport)
            getattr(transport, "abortConnection", transport.loseConnection)()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._size += len(data)
        if self._size <= self._max_bytes:
            self._chunks.append(data)
        elif not self.done.called:
            self._chunks.clear()
            self.done.errback(BodyTooLarge(f"The answer has more than {self._max_bytes} bytes."))
            self.cut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self.done.called:
            return
        from twisted.web.client import ResponseDone  # late, see `late_agent`

        # PotentialDataLoss: neither a length nor chunks, so that the end of the connection is the end.
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(reason)
