"""A network in memory for several servers in one process: real HTTP bytes, no sockets, no TLS, exact order.

Everything happens by calls on the clock, after `latency_ms`, so that a world with the same seed repeats byte
for byte. Certificates are played: a host proves the names and addresses that it was made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionLost,
    NoRouteError,
)
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from minihs.lab.memory_transport import MemoryTransport
from minihs.platform.clock import Clock
from minihs.platform.network import Resolver, SrvRecord

FIRST_EPHEMERAL_PORT = 40_000


class WrongCertificate(Exception):
    """The host that answered cannot prove the name that was asked for."""


class Link(Enum):
    """How two hosts stand to one another."""

    UP = "up"
    REFUSING = "refusing"  # connections break, new ones fail at once
    SILENT = "silent"  # nothing arrives and nobody says so; what was sent arrives when the link is mended


class MemoryNetwork:
    """The hosts, the names they have, and the state of the links between them."""

    def __init__(self, clock: Clock, *, latency_ms: float = 0.5) -> None:
        self.clock = clock
        self.latency_ms = latency_ms
        self.hosts: dict[str, MemoryHost] = {}
        self.srv_records: dict[str, list[SrvRecord]] = {}
        self.connections: list[tuple[str, str, MemoryTransport]] = []
        self._links: dict[tuple[str, str], Link] = {}

    def host(self, address: str, *names: str) -> MemoryHost:
        """A new machine with one IP address and the DNS names that lead to it and that it can prove."""
        if address in self.hosts:
            raise ValueError(f"there is a host with address {address} already")
        self.hosts[address] = MemoryHost(self, address, names)
        return self.hosts[address]

    def link(self, one: str, other: str) -> Link:
        """The state of the link between two addresses."""
        return self._links.get((min(one, other), max(one, other)), Link.UP)

    def set_link(self, one: str, other: str, state: Link) -> None:
        """Cut or mend the link between two addresses."""
        self._links[(min(one, other), max(one, other))] = state
        for client, server, transport in list(self.connections):
            if {client, server} == {one, other}:
                if state is Link.REFUSING:
                    transport.cut(ConnectionLost())
                elif state is Link.UP:
                    transport.wake()
                    transport.other.wake()

    def crash(self, address: str) -> None:
        """The machine's process is gone: nobody listens there and its connections are lost."""
        self.hosts[address].listening.clear()
        for client, server, transport in list(self.connections):
            if address in (client, server):
                transport.cut(ConnectionLost())

    def remember(self, client: str, server: str, transport: MemoryTransport) -> None:
        """Keep a connection in the list of those that a cut ends; forget those that have ended."""
        self.connections = [entry for entry in self.connections if entry[2].connected]
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
        self._network.clock.call_later(self._network.latency_ms, self._arrive, factory, connecting)
        return connecting

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

        def link_up() -> bool:
            return network.link(here, there) is Link.UP

        near, far = _address(here, self._host.take_port()), _address(there, self._port)
        client = MemoryTransport(network.clock, network.latency_ms, near, far, link_up)
        server = MemoryTransport(network.clock, network.latency_ms, far, near, link_up)
        client.other, server.other = server, client
        server.protocol = port.factory.buildProtocol(near)
        if server.protocol is None:
            self._fail(connecting, ConnectionLost("the connection was closed at once"))
            return
        client.protocol = factory.buildProtocol(far)
        network.remember(here, there, client)
        server.start()
        network.clock.call_later(network.latency_ms, self._connected, client, connecting)

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


class _MemoryResolver:
    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    def addresses(self, host: str) -> Deferred[Sequence[str]]:
        return succeed([address for address, machine in self._network.hosts.items() if host in machine.names])

    def srv(self, name: str) -> Deferred[Sequence[SrvRecord]]:
        return succeed(list(self._network.srv_records.get(name, ())))
