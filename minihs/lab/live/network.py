"""The network of a real server with faults in it: what `faults` says of a way happens to the bytes on it.

Ours to others are known by where they lead; others' to us by the server that signed the first request. Bytes
are those inside TLS: a handshake is as the machine's network makes it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import NoRouteError
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPFactory
from zope.interface import implementer

from minihs.lab.conditions import Link, Path
from minihs.lab.live.busy import Busy
from minihs.lab.live.faults import FaultTable, Ways
from minihs.lab.wire import WireLog
from minihs.platform.clock import Clock, sleep
from minihs.platform.network import Network, Resolver

FEDERATION_PORT = 8448
_ORIGIN = re.compile(
    rb'^authorization:\s*x-matrix\b.*?\borigin\s*=\s*"?([^",\r\n]+)', re.IGNORECASE | re.MULTILINE
)
MAX_HEAD_BYTES = 64 * 1024
UNKNOWN = "?"
"""The label of whoever has not said which server it is."""


class Pipe:
    """One direction of a connection: bytes arrive in order, when the path lets them."""

    def __init__(
        self, clock: Clock, path: Path, arrive: Callable[[bytes], None], broken: Callable[[], None]
    ) -> None:
        self.path = path
        self._clock = clock
        self._arrive = arrive
        self._broken = broken
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._due = False
        self._drained: Callable[[], None] | None = None

    def send(self, data: bytes) -> None:
        """Bytes set out."""
        travel_ms = self.path.travel_ms(len(data))
        if travel_ms is None or self.path.state is Link.REFUSING:
            self._broken()
        elif travel_ms == 0 and not self._waiting and self.path.up:
            self._arrive(data)
        else:
            arrival_ms = self._clock.monotonic_ms() + travel_ms
            if self._waiting:
                arrival_ms = max(arrival_ms, self._waiting[-1][0])
            self._waiting.append((arrival_ms, data))
            self.wake()

    def then(self, call: Callable[[], None]) -> None:
        """Call once everything that was sent has arrived."""
        if self._waiting:
            self._drained = call
        else:
            call()

    def wake(self) -> None:
        """The path may have changed."""
        if self._waiting and not self._due and self.path.up:
            self._due = True
            self._clock.call_later(max(0.0, self._waiting[0][0] - self._clock.monotonic_ms()), self._deliver)

    def _deliver(self) -> None:
        self._due = False
        while self._waiting and self.path.up and self._waiting[0][0] <= self._clock.monotonic_ms():
            self._arrive(self._waiting.popleft()[1])
        if self._waiting:
            self.wake()
        elif self._drained is not None:
            drained, self._drained = self._drained, None
            drained()


class FaultyNetwork:
    """Another network, with faults. `wire` reads along; `busy` counts connections that are being made and
    requests that others have. Connections that nobody uses are closed in `real` time: while the clock is
    turned nobody had the time to use them."""

    resolver: Resolver

    def __init__(
        self,
        network: Network,
        clock: Clock,
        real: Clock,
        table: FaultTable,
        busy: Busy,
        wire: WireLog,
        me: str,
    ) -> None:
        self.resolver = network.resolver
        self.clock = clock
        self.table = table
        self.busy = busy
        self.wire = wire
        self.me = me
        self.links: dict[int, _Faulty] = {}
        self._network = network
        self._real = real
        table.changed = self._changed

    def tcp_client(self, address: str, port: int) -> IStreamClientEndpoint:
        """An endpoint in the clear, without faults: no server speaks that to another."""
        return self._network.tcp_client(address, port)

    def tls_client(self, address: str, port: int, verify_name: str) -> IStreamClientEndpoint:
        """An endpoint over TLS with the faults of the server there."""
        names = [f"{verify_name}:{port}", f"{address}:{port}"]
        if port == FEDERATION_PORT:
            names.insert(0, verify_name)
        endpoint = self._network.tls_client(address, port, verify_name)
        return cast(IStreamClientEndpoint, _FaultyEndpoint(self, endpoint, self.table.ways(*names)))

    def listen(
        self, factory: IProtocolFactory, host: str, port: int, *, tls: bool
    ) -> Deferred[IListeningPort]:
        """Listen; what comes over TLS comes from servers, and has their faults."""
        if isinstance(factory, HTTPFactory):
            cast(Any, factory).reactor = self._real
        if tls:
            wrapping: Any = cast(Any, WrappingFactory)(factory)
            wrapping.noisy = False
            wrapping.protocol = lambda _factory, wrapped: _Incoming(wrapping, wrapped, self)
            factory = wrapping
        return self._network.listen(factory, host, port, tls=tls)

    def _changed(self) -> None:
        for link in list(self.links.values()):
            link.conditions_changed()


class _Faulty(ProtocolWrapper):
    """A connection whose bytes take the ways of another server; `sent` are ours, `got` theirs."""

    _closed = False

    def __init__(self, factory: Any, wrapped: Any, network: FaultyNetwork) -> None:
        cast(Any, super()).__init__(factory, wrapped)
        self._network = network
        self._sent: Pipe
        self._got: Pipe

    def route(self, ways: Ways) -> None:
        """Take these ways from now on."""
        clock = self._network.clock
        self._sent = Pipe(clock, ways.outgoing, self._write, self.broken)
        self._got = Pipe(clock, ways.incoming, self._deliver, self.broken)
        self._network.links[id(self)] = self

    def conditions_changed(self) -> None:
        if Link.REFUSING in (self._sent.path.state, self._got.path.state):
            self.broken()
        else:
            self._sent.wake()
            self._got.wake()

    def broken(self) -> None:
        cast(Any, self.transport).abortConnection()

    def write(self, data: bytes) -> None:
        self._sent.send(data)

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        self._sent.send(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802
        self.disconnecting = True
        self._sent.then(lambda: cast(Any, self.transport).loseConnection())

    def abortConnection(self) -> None:  # noqa: N802
        cast(Any, self.transport).abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: N802
        if not self._closed:
            self._closed = True
            self._network.links.pop(id(self), None)
            self.ended()
            if cast(Any, self.wrappedProtocol).transport is not None:
                cast(Any, super()).connectionLost(reason)

    def ended(self) -> None:
        """The connection is over."""

    def _write(self, data: bytes) -> None:
        if not self._closed:
            self.wrote(data)
            cast(Any, self.transport).write(data)

    def _deliver(self, data: bytes) -> None:
        if not self._closed:
            self.read(data)
            cast(Any, ProtocolWrapper).dataReceived(self, data)

    def wrote(self, data: bytes) -> None:
        """Bytes of ours are on their way for good."""

    def read(self, data: bytes) -> None:
        """Bytes of the other side's reach us."""


class _Outgoing(_Faulty):
    """We ask. A `twin` is a second connection, on which everything is asked again."""

    def __init__(self, factory: Any, wrapped: Any, network: FaultyNetwork, ways: Ways) -> None:
        super().__init__(factory, wrapped, network)
        self.route(ways)
        self.twin: Any = None
        self._server = ways.names[0]
        self._asking: int | None = None
        self._reading = network.wire.connected(network.me, self._server, 0)

    def wrote(self, data: bytes) -> None:
        if self._asking is None:
            self._asking = self._network.busy.begin(f"an answer from {self._server}")
        self._reading.sent(data)
        if self.twin is not None:
            self.twin.write(data)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._answered()
        self._got.send(data)

    def read(self, data: bytes) -> None:
        self._reading.answered(data)

    def ended(self) -> None:
        self._answered(well=False)
        self._reading.ended()
        if self.twin is not None:
            self.twin.loseConnection()

    def _answered(self, *, well: bool = True) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            self._network.busy.end(asking, well=well)


class _Incoming(_Faulty):
    """Others ask. Which server it is, is known once a signed request came; until then only what holds for
    anybody holds."""

    def __init__(self, factory: Any, wrapped: Any, network: FaultyNetwork) -> None:
        super().__init__(factory, wrapped, network)
        self._head = b""
        self._known = False
        self.route(network.table.ways(UNKNOWN))
        self._reading = network.wire.connected(UNKNOWN, network.me, 0)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self._known:
            self._head += data
            if b"\r\n\r\n" not in self._head and len(self._head) < MAX_HEAD_BYTES:
                return
            data, self._head = self._head, b""
            self._recognise(data)
        self._got.send(data)
        if self._got.path.state is Link.REFUSING:
            self.broken()

    def wrote(self, data: bytes) -> None:
        self._reading.answered(data)

    def read(self, data: bytes) -> None:
        self._reading.sent(data)

    def ended(self) -> None:
        self._reading.ended()

    def _recognise(self, data: bytes) -> None:
        found = _ORIGIN.search(data)
        if found is not None:
            self._known = True
            name = found[1].decode("latin-1")
            self._reading = self._network.wire.connected(name, self._network.me, 0)
            self.route(self._network.table.ways(name))


@implementer(IStreamClientEndpoint)
class _FaultyEndpoint:
    def __init__(self, network: FaultyNetwork, endpoint: IStreamClientEndpoint, ways: Ways) -> None:
        self._network = network
        self._endpoint: Any = endpoint
        self._ways = ways

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        ways = self._ways
        travel_ms = ways.outgoing.travel_ms(0)
        states = (ways.outgoing.state, ways.incoming.state)
        if Link.REFUSING in states or travel_ms is None:
            return fail(cast(Any, NoRouteError)())
        if Link.SILENT in states:
            return Deferred()  # it is waited for in vain
        if not travel_ms:
            return self._connect(factory)
        travelling: Deferred[Any] = sleep(self._network.clock, travel_ms)
        return travelling.addCallback(lambda _: self._connect(factory))

    def _connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        busy, ways = self._network.busy, self._ways
        wrapping: Any = cast(Any, WrappingFactory)(factory)
        wrapping.noisy = False
        wrapping.protocol = lambda _factory, wrapped: _Outgoing(wrapping, wrapped, self._network, ways)
        number = busy.begin(f"a connection to {ways.names[0]}")

        def ended(result: Any) -> Any:
            busy.end(number, well=not isinstance(result, Failure))
            return result

        connecting: Deferred[Any] = self._endpoint.connect(wrapping).addBoth(ended)
        if ways.outgoing.repeats():
            connecting.addCallback(self._with_twin)
        return connecting.addCallback(lambda outgoing: outgoing.wrappedProtocol)

    def _with_twin(self, outgoing: _Outgoing) -> Deferred[_Outgoing]:
        """Answers to what is asked a second time are thrown away."""
        factory: Any = Factory.forProtocol(Protocol)
        factory.noisy = False

        def connected(twin: Any) -> None:
            outgoing.twin = twin.transport

        twin: Deferred[Any] = self._endpoint.connect(factory)
        return twin.addCallbacks(connected, lambda _failure: None).addCallback(lambda _: outgoing)
