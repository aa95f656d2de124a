"""A network in memory for several servers in one process: real HTTP bytes, no sockets, no TLS, exact order.

Everything happens by calls on the clock, after what `conditions` says of the way, so that a world with the
same seed repeats byte for byte. Certificates are played: a host proves the names and addresses that it was
made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionLost,
    NoRouteError,
)
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from zope.interface import implementer

from minihs.lab.conditions import Conditions, Link, Path
from minihs.lab.memory_transport import MemoryTransport
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, SeededEntropy
from minihs.platform.network import Resolver, SrvRecord

__all__ = ["Link", "MemoryHost", "MemoryNetwork", "WrongCertificate"]

FIRST_EPHEMERAL_PORT = 40_000


class WrongCertificate(Exception):
    """The host that answered cannot prove the name that was asked for."""


class Connected(Protocol):
    """Reads along on one connection, in both directions."""

    def sent(self, data: bytes) -> None:
        """Bytes of the side that connected have arrived."""

    def answered(self, data: bytes) -> None:
        """Bytes of the side that listened have arrived."""

    def ended(self) -> None:
        """The side that connected knows no connection any more; may come more than once."""


class Observer(Protocol):
    """Hears of every connection (`wire.WireLog`)."""

    def connected(self, client: str, server: str, port: int) -> Connected:
        """A connection between two addresses was made."""


class MemoryNetwork:
    """The hosts, the names they have, and the state of the ways between them."""

    def __init__(
        self,
        clock: Clock,
        *,
        latency_ms: float = 0.5,
        entropy: Entropy | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.clock = clock
        self.default = Conditions(latency_ms=latency_ms)
        self.hosts: dict[str, MemoryHost] = {}
        self.srv_records: dict[str, list[SrvRecord]] = {}
        self.connections: list[tuple[str, str, MemoryTransport]] = []
        self.observer = observer
        self.connecting = 0
        self._entropy = entropy or SeededEntropy("network")
        self._paths: dict[tuple[str, str], Path] = {}

    def host(self, address: str, *names: str) -> MemoryHost:
        """A new machine with one IP address and the DNS names that lead to it and that it can prove."""
        if address in self.hosts:
            raise ValueError(f"there is a host with address {address} already")
        self.hosts[address] = MemoryHost(self, address, names)
        return self.hosts[address]

    def path(self, source: str, target: str) -> Path:
        """The way from one address to another."""
        path = self._paths.get((source, target))
        if path is None:
            path = self._paths[source, target] = Path(self._entropy, self.default)
        return path

    def state(self, source: str, target: str) -> Link:
        """The state of one direction."""
        path = self._paths.get((source, target))
        return Link.UP if path is None else path.state

    def link(self, one: str, other: str) -> Link:
        """The state of the link between two addresses: that of the direction that is worse off."""
        states = (self.state(one, other), self.state(other, one))
        for state in (Link.REFUSING, Link.SILENT):
            if state in states:
                return state
        return Link.UP

    def set_link(self, one: str, other: str, state: Link) -> None:
        """Cut or mend the link between two addresses, in both directions."""
        self.set_path(one, other, state)
        self.set_path(other, one, state)

    def set_path(self, source: str, target: str, state: Link) -> None:
        """Cut or mend one direction. A direction that refuses breaks the connections of both."""
        self.path(source, target).state = state
        for client, server, transport in list(self.connections):
            if {client, server} == {source, target}:
                if state is Link.REFUSING:
                    transport.cut(ConnectionLost())
                elif state is Link.UP:
                    transport.wake()
                    transport.other.wake()

    def crash(self, address: str) -> None:
        """The machine's process is gone: nobody listens there, its connections are lost, and nothing in it
        hears of that."""
        self.hosts[address].listening.clear()
        for client, server, transport in list(self.connections):
            if address == client:
                transport.vanish()
            elif address == server:
                transport.other.vanish()

    def is_quiet(self) -> bool:
        """Whether nobody is connecting and everything that was written has arrived."""
        return not self.connecting and not any(
            entry[2].undelivered or entry[2].other.undelivered for entry in self.connections
        )

    def remember(self, client: str, server: str, transport: MemoryTransport) -> None:
        """Keep a connection in the list of those that a cut ends; forget those that have ended."""
        self.connections = [entry for entry in self.connections if not entry[2].over]
        self.connections.append((client, server, transport))


class MemoryHost:
    """One machine; it is the `Network` of the server that runs on it."""

    resolver: Resolver

    def __init__(self, network: MemoryNetwork, address: str, names: Sequence[str]) -> None:
        self.network = network
        self.address = address
        self.names = tuple(names)
        self.listening: dict[int, _MemoryPort] = {}
        self.resolver = _MemoryResolver(network)
        self._next_port = FIRST_EPHEMERAL_PORT

    def tcp_client(self, address: str, port: int) -> IStreamClientEndpoint:
        """An endpoint in the clear."""
        return cast(IStreamClientEndpoint, _MemoryEndpoint(self, address, port, None))

    def tls_client(self, address: str, port: int, verify_name: str) -> IStreamClientEndpoint:
        """An endpoint that plays TLS: the host that answers must have `verify_name` among its names."""
        return cast(IStreamClientEndpoint, _MemoryEndpoint(self, address, port, verify_name))

    def listen(
        self,
        factory: IProtocolFactory,
        host: str,  # noqa: ARG002
        port: int,
        *,
        tls: bool,
    ) -> Deferred[IListeningPort]:
        """Listen on this machine; `host` does not matter, it has one address."""
        number = port or self.take_port()
        if number in self.listening:
            raise cast(Any, CannotListenError)(self.address, number, "the port is taken")
        listening = _MemoryPort(self, factory, number, tls)
        listening.startListening()
        return succeed(cast(IListeningPort, listening))

    def take_port(self) -> int:
        """A port number that was not used before."""
        self._next_port += 1
        return self._next_port - 1

    def proves(self, name: str) -> bool:
        """Whether this machine's certificate is good for `name`."""
        return name == self.address or name in self.names


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@implementer(IListeningPort)
class _MemoryPort:
    def __init__(self, host: MemoryHost, factory: IProtocolFactory, number: int, tls: bool) -> None:
        self.host = host
        self.factory: Any = factory
        self.number = number
        self.tls = tls

    def startListening(self) -> None:  # noqa: N802
        self.host.listening[self.number] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        if self.host.listening.pop(self.number, None) is not None:
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:  # noqa: N802
        return _address(self.host.address, self.number)


@implementer(IStreamClientEndpoint)
class _MemoryEndpoint:
    def __init__(self, host: MemoryHost, address: str, port: int, verify_name: str | None) -> None:
        self._host = host
        self._network = host.network
        self._address = address
        self._port = port
        self._verify_name = verify_name

    def connect(self, factory: Any) -> Deferred[IProtocol]:
        connecting: Deferred[IProtocol] = Deferred()
        factory.doStart()
        self._network.connecting += 1
        connecting.addBoth(self._decided)
        travel_ms = self._there.travel_ms(0)
        if travel_ms is not None:  # else it is waited for in vain
            self._network.clock.call_later(travel_ms, self._arrive, factory, connecting)
        return connecting

    def _decided(self, outcome: Any) -> Any:
        self._network.connecting -= 1
        return outcome

    @property
    def _there(self) -> Path:
        return self._network.path(self._host.address, self._address)

    @property
    def _back(self) -> Path:
        return self._network.path(self._address, self._host.address)

    def _arrive(self, factory: Any, connecting: Deferred[IProtocol]) -> None:
        """The attempt reaches the other machine."""
        link = self._network.link(self._host.address, self._address)
        target = self._network.hosts.get(self._address)
        if connecting.called or link is Link.SILENT:
            return
        if target is None or link is Link.REFUSING:
            self._fail(connecting, cast(Any, NoRouteError)())
            return
        port = target.listening.get(self._port)
        if port is None:
            self._fail(connecting, cast(Any, NobodyListens)())
            return
        if port.tls != (self._verify_name is not None):
            self._fail(connecting, ConnectionLost("one side speaks TLS and the other does not"))
            return
        if self._verify_name is not None and not target.proves(self._verify_name):
            self._fail(connecting, WrongCertificate(f"{self._address} does not prove {self._verify_name}"))
            return
        self._accept(port, factory, connecting)

    def _accept(self, port: _MemoryPort, factory: Any, connecting: Deferred[IProtocol]) -> None:
        network, here, there = self._network, self._host.address, self._address
        near, far = _address(here, self._host.take_port()), _address(there, self._port)
        client, server = _pair(network, self._there, self._back, near, far, (here, there, self._port))
        server.protocol = port.factory.buildProtocol(near)
        if server.protocol is None:
            self._fail(connecting, ConnectionLost("the connection was closed at once"))
            return
        client.protocol = factory.buildProtocol(far)
        network.remember(here, there, client)
        server.start()
        if self._there.repeats():
            client.twin = self._twin(port, near, far)
        network.clock.call_later(self._back.conditions.latency_ms, self._connected, client, connecting)

    def _twin(self, port: _MemoryPort, near: Any, far: Any) -> MemoryTransport | None:
        """A connection that carries the same requests again; what is answered on it is thrown away."""
        network, here, there = self._network, self._host.address, self._address
        client, server = _pair(network, self._there, self._back, near, far, (here, there, self._port))
        server.protocol = port.factory.buildProtocol(near)
        if server.protocol is None:
            return None
        client.protocol = TwistedProtocol()
        network.remember(here, there, client)
        server.start()
        client.start()
        return client

    def _connected(self, client: MemoryTransport, connecting: Deferred[IProtocol]) -> None:
        if connecting.called:
            client.abortConnection()
        elif not client.connected:
            self._fail(connecting, ConnectionLost("the connection was closed at once"))
        else:
            client.start()
            connecting.callback(client.protocol)

    def _fail(self, connecting: Deferred[IProtocol], reason: Exception) -> None:
        connecting.errback(reason)


def _pair(
    network: MemoryNetwork, there: Path, back: Path, near: Any, far: Any, names: tuple[str, str, int]
) -> tuple[MemoryTransport, MemoryTransport]:
    if network.observer is None:
        client = MemoryTransport(network.clock, there, near, far)
        server = MemoryTransport(network.clock, back, far, near)
    else:
        reading = network.observer.connected(*names)
        client = MemoryTransport(network.clock, there, near, far, reading.sent, reading.ended)
        server = MemoryTransport(network.clock, back, far, near, reading.answered)
    client.other, server.other = server, client
    return client, server


class _MemoryResolver:
    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    def addresses(self, host: str) -> Deferred[Sequence[str]]:
        return succeed([address for address, machine in self._network.hosts.items() if host in machine.names])

    def srv(self, name: str) -> Deferred[Sequence[SrvRecord]]:
        return succeed(list(self._network.srv_records.get(name, ())))
