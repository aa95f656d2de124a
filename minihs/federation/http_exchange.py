"""Bodies of outgoing HTTP requests and their answers, bounded in size. No addresses and no Matrix here."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer


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
        # PotentialDataLoss: neither a length nor chunks, so that the end of the connection is the end.
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(reason)
