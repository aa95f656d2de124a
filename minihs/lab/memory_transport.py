"""One end of a connection in memory: bytes, flow control and closing, as TCP would have them.

Every delivery is a call on the clock, so the order of everything is that of the clock. Who may connect to
whom is `memory_network`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from minihs.platform.clock import Clock

CHUNK_BYTES = 64 * 1024
"""The most that one `dataReceived` carries."""
HIGH_WATER_BYTES = 64 * 1024
"""Beyond this much undelivered data, a producer is told to pause."""


@implementer(ITCPTransport, IPushProducer)
class MemoryTransport:
    """One end of a connection; `link_up` says whether bytes get through at the moment."""

    connected = True
    disconnecting = False

    def __init__(
        self, clock: Clock, latency_ms: float, host: Any, peer: Any, link_up: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._latency_ms = latency_ms
        self._host = host
        self._peer_address = peer
        self._link_up = link_up
        self.protocol: Any = None
        self.other: MemoryTransport = self
        self._started = False
        self._outgoing = bytearray()
        self._delivery_due = False
        self._reading_paused = False
        self._write_closed = False
        self._end_sent = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False

    # What protocols call.

    def write(self, data: bytes) -> None:
        """Send bytes; ignored once the connection is closing, as by a socket."""
        if not self.connected or self._write_closed or not data:
            return
        self._outgoing += data
        full = len(self._outgoing) > HIGH_WATER_BYTES
        if full and self._producer is not None and self._streaming and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()
        self._schedule()

    def writeSequence(self, iovec: Any) -> None:  # noqa: N802
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:  # noqa: N802
        """Close once everything that was written, and what a producer still writes, has been delivered."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._schedule()

    def loseWriteConnection(self) -> None:  # noqa: N802
        """Close our direction once everything that was written has been delivered."""
        self._write_closed = True
        self._schedule()

    def abortConnection(self) -> None:  # noqa: N802
        """Close without delivering what waits. Our protocol hears of it in a later turn, as from a socket."""
        if self.connected:
            self._outgoing.clear()
            self._write_closed = self.disconnecting = True
            self._clock.call_later(0, self.cut, ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not self.connected:
            producer.stopProducing()
        elif not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        self._producer = None
        self._schedule()

    def pauseProducing(self) -> None:  # noqa: N802
        """Stop delivering to our protocol; the other side's bytes wait."""
        self._reading_paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        if self._reading_paused:
            self._reading_paused = False
            self.other._schedule()

    def stopProducing(self) -> None:  # noqa: N802
        self.loseConnection()

    def getHost(self) -> Any:  # noqa: N802
        return self._host

    def getPeer(self) -> Any:  # noqa: N802
        return self._peer_address

    def getTcpNoDelay(self) -> bool:  # noqa: N802
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Nothing is ever delayed."""

    def getTcpKeepAlive(self) -> bool:  # noqa: N802
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802
        """Nothing to keep alive."""

    # What the network calls.

    def start(self) -> None:
        """Tell our protocol that it is connected."""
        self._started = True
        self.protocol.makeConnection(self)
        self.other.wake()

    def cut(self, reason: Exception) -> None:
        """End the connection abruptly: our protocol learns `reason`, the other side a lost connection."""
        if not self.connected:
            return
        self._close(reason)
        self._clock.call_later(self._latency_ms, self.other._close, ConnectionLost())

    def wake(self) -> None:
        """The link works again: deliver what waits."""
        self._schedule()

    # Inside.

    def _schedule(self) -> None:
        if not self._delivery_due and self.connected:
            self._delivery_due = True
            self._clock.call_later(self._latency_ms, self._deliver)

    def _deliver(self) -> None:
        self._delivery_due = False
        other = self.other
        if not self.connected or not self._link_up() or (self.other.connected and not self.other._started):
            return
        if self._outgoing and other.connected and not other._reading_paused:
            chunk = bytes(self._outgoing[:CHUNK_BYTES])
            del self._outgoing[:CHUNK_BYTES]
            other.protocol.dataReceived(chunk)
            self._refill()
        self._continue_or_end()

    def _continue_or_end(self) -> None:
        other = self.other
        if self._outgoing and other.connected:
            if not other._reading_paused:
                self._schedule()
        elif not self.connected or self._producer is not None:
            return
        elif self.disconnecting:
            self._close(ConnectionDone())
            other._close(ConnectionDone())
        elif self._write_closed and not self._end_sent:
            self._end_sent = True
            other._half_closed()

    def _refill(self) -> None:
        if self._producer is None or self._outgoing:
            return
        if not self._streaming:
            self._producer.resumeProducing()
        elif self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()

    def _half_closed(self) -> None:
        if cast(Any, IHalfCloseableProtocol).providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.loseConnection()

    def _close(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = False
        self.disconnecting = True
        self._outgoing.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self._started:
            self.protocol.connectionLost(cast(Any, Failure)(reason))
