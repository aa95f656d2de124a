"""One end of a connection in memory: bytes, flow control and closing, as TCP would have them.

Every delivery is a call on the clock, so the order of everything is that of the clock. Who may connect to
whom is `memory_network`'s business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from minihs.lab.conditions import Path
from minihs.platform.clock import Clock

CHUNK_BYTES = 64 * 1024
"""The most that one `dataReceived` carries."""
HIGH_WATER_BYTES = 64 * 1024
"""Beyond this much undelivered data, a producer is told to pause."""


def _ignored(*_: bytes) -> None:
    """Nobody reads along."""


@implementer(ITCPTransport, IPushProducer)
class MemoryTransport:
    """One end of a connection; `path` is the way that its bytes go, `carried` hears of those that arrive,
    `ended` of the end."""

    connected = True
    disconnecting = False

    def __init__(
        self,
        clock: Clock,
        path: Path,
        host: Any,
        peer: Any,
        carried: Callable[[bytes], None] = _ignored,
        ended: Callable[[], None] = _ignored,
    ) -> None:
        self._clock = clock
        self._path = path
        self._host = host
        self._peer_address = peer
        self._carried = carried
        self._ended = ended
        self.protocol: Any = None
        self.other: MemoryTransport = self
        self.twin: MemoryTransport | None = None
        """A second connection that everything written here is written to, too."""
        self._started = False
        self._segments: deque[tuple[float, bytearray]] = deque()
        self._outgoing = 0
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
        now_ms = self._clock.monotonic_ms()
        travel_ms = self._path.travel_ms(len(data))
        if travel_ms is None:
            self._clock.call_later(self._path.conditions.latency_ms, self.cut, ConnectionLost())
            return
        arrival_ms = now_ms + travel_ms
        if self._segments and self._segments[-1][0] >= arrival_ms:
            self._segments[-1][1].extend(data)
        else:
            self._segments.append((arrival_ms, bytearray(data)))
        self._outgoing += len(data)
        if self.twin is not None:
            self.twin.write(data)
        full = self._outgoing > HIGH_WATER_BYTES
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
            self._forget_outgoing()
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
        self._tell_other()

    def vanish(self) -> None:
        """Our process is gone: our protocol hears nothing any more, the other side of a lost connection."""
        if not self.connected:
            return
        self.connected = False
        self._forget_outgoing()
        self._ended()
        self._tell_other()

    def wake(self) -> None:
        """The link works again: deliver what waits, or tell that the connection is gone."""
        if not self.connected:
            self._tell_other()
        self._schedule()

    @property
    def undelivered(self) -> int:
        """Bytes that were written and have not arrived."""
        return self._outgoing

    @property
    def over(self) -> bool:
        """Whether both sides know that the connection has ended."""
        return not self.connected and not self.other.connected

    # Inside.

    def _tell_other(self) -> None:
        # While the link is silent the other side hears nothing of it.
        if self._path.up and self.other.connected:
            self._clock.call_later(self._path.conditions.latency_ms, self.other._close, ConnectionLost())

    def _schedule(self) -> None:
        if not self._delivery_due and self.connected:
            self._delivery_due = True
            if self._segments:
                delay_ms = self._segments[0][0] - self._clock.monotonic_ms()
            else:
                delay_ms = self._path.conditions.latency_ms
            self._clock.call_later(max(0.0, delay_ms), self._deliver)

    def _deliver(self) -> None:
        self._delivery_due = False
        other = self.other
        if not self.connected or not self._path.up or (other.connected and not other._started):
            return
        if self._segments and other.connected and not other._reading_paused:
            if self._segments[0][0] > self._clock.monotonic_ms():
                self._schedule()
                return
            chunk = self._next_chunk()
            self._carried(chunk)
            other.protocol.dataReceived(chunk)
            self._refill()
        self._continue_or_end()

    def _next_chunk(self) -> bytes:
        segment = self._segments[0][1]
        chunk = bytes(segment[:CHUNK_BYTES])
        del segment[:CHUNK_BYTES]
        if not segment:
            self._segments.popleft()
        self._outgoing -= len(chunk)
        return chunk

    def _continue_or_end(self) -> None:
        other = self.other
        if self._segments and other.connected:
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
        if self._producer is None or self._segments:
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

    def _forget_outgoing(self) -> None:
        self._segments.clear()
        self._outgoing = 0

    def _close(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = False
        self.disconnecting = True
        self._forget_outgoing()
        self._ended()
        if self.twin is not None:
            self.twin.loseConnection()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self._started:
            self.protocol.connectionLost(cast(Any, Failure)(reason))
