"""Connections in memory behave as TCP's do, in an exact order."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost, NoRouteError
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from minihs.lab.memory_network import Link, MemoryHost, MemoryNetwork, WrongCertificate
from minihs.platform.clock import VirtualClock


class Recorder(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self.ended = reason


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = MemoryNetwork(self.clock, latency_ms=1)
        self.here = self.network.host("10.0.0.1", "here.test")
        self.there = self.network.host("10.0.0.2", "there.test")
        self.accepted: list[Recorder] = []
        self.pump = lambda: self.clock.pump([0.001] * 50)

    def listen(self, *, tls: bool = False, protocol: type[Recorder] = Recorder) -> None:
        world = self

        class Accepting(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Protocol:  # noqa: N802
                world.accepted.append(protocol())
                return world.accepted[-1]

        self.there.listen(Accepting(), "", 80, tls=tls)

    def connect(self, endpoint: Any) -> Any:
        """The client's protocol, or the failure."""
        results: list[Any] = []
        factory = Factory.forProtocol(Recorder)
        factory.noisy = False
        endpoint.connect(factory).addBoth(results.append)
        self.pump()
        return results[0] if results else None

    def pair(self, protocol: type[Recorder] = Recorder) -> tuple[Any, Any]:
        self.listen(protocol=protocol)
        return self.connect(self.here.tcp_client("10.0.0.2", 80)), self.accepted[0]


def test_a_transport_provides_the_interfaces_of_a_tcp_connection() -> None:
    client, _ = World().pair()
    assert verifyObject(ITCPTransport, client.transport)
    assert verifyObject(IPushProducer, client.transport)


def test_bytes_arrive_in_order_and_in_both_directions() -> None:
    world = World()
    client, server = world.pair()
    client.transport.write(b"one ")
    client.transport.writeSequence([b"two ", b"three"])
    server.transport.write(b"answer")
    world.pump()
    assert (server.received, client.received) == (b"one two three", b"answer")


def test_closing_delivers_what_was_written_first() -> None:
    world = World()
    client, server = world.pair()
    client.transport.write(b"x" * 200_000)
    client.transport.loseConnection()
    client.transport.write(b"after closing, as a socket takes it still")
    world.pump()
    assert server.received.startswith(b"x" * 200_000)
    assert isinstance(server.ended.value, ConnectionDone)
    assert isinstance(client.ended.value, ConnectionDone)


def test_aborting_loses_what_was_not_delivered() -> None:
    world = World()
    client, server = world.pair()
    client.transport.write(b"lost")
    client.transport.abortConnection()
    world.pump()
    assert server.received == b""
    assert isinstance(server.ended.value, ConnectionLost)


def test_a_half_close_leaves_the_other_direction_open() -> None:
    @implementer(IHalfCloseableProtocol)
    class Patient(Recorder):
        def readConnectionLost(self) -> None:  # noqa: N802
            self.transport.write(b"the answer")
            self.transport.loseConnection()

        def writeConnectionLost(self) -> None:  # noqa: N802
            pass

    world = World()
    client, server = world.pair(Patient)
    client.transport.write(b"question")
    client.transport.loseWriteConnection()
    world.pump()
    assert (server.received, client.received) == (b"question", b"the answer")


def test_a_reader_that_pauses_makes_the_writer_pause_and_loses_nothing() -> None:
    @implementer(IPushProducer)
    class Producer:
        paused = False

        def pauseProducing(self) -> None:  # noqa: N802
            self.paused = True

        def resumeProducing(self) -> None:  # noqa: N802
            self.paused = False

        def stopProducing(self) -> None:  # noqa: N802
            pass

    world = World()
    client, server = world.pair()
    producer = Producer()
    client.transport.registerProducer(producer, True)
    server.transport.pauseProducing()
    client.transport.write(b"x" * 100_000)
    world.pump()
    assert (server.received, producer.paused) == (b"", True)
    server.transport.resumeProducing()
    world.pump()
    assert (len(server.received), producer.paused) == (100_000, False)


def test_a_port_where_nobody_listens_refuses_connections() -> None:
    world = World()
    assert world.connect(world.here.tcp_client("10.0.0.2", 80)).check(NobodyListens)
    assert world.connect(world.here.tcp_client("10.0.0.3", 80)).check(NoRouteError)


@pytest.mark.parametrize("name", ["there.test", "10.0.0.2"])
def test_tls_connects_when_the_host_proves_the_name(name: str) -> None:
    world = World()
    world.listen(tls=True)
    assert isinstance(world.connect(world.here.tls_client("10.0.0.2", 80, name)), Recorder)


def test_tls_fails_when_the_host_cannot_prove_the_name() -> None:
    world = World()
    world.listen(tls=True)
    assert world.connect(world.here.tls_client("10.0.0.2", 80, "here.test")).check(WrongCertificate)


def test_a_refusing_link_breaks_connections_and_new_attempts() -> None:
    world = World()
    client, server = world.pair()
    world.network.set_link("10.0.0.2", "10.0.0.1", Link.REFUSING)
    world.pump()
    assert client.ended.check(ConnectionLost)
    assert server.ended.check(ConnectionLost)
    assert world.connect(world.here.tcp_client("10.0.0.2", 80)).check(NoRouteError)


def test_a_silent_link_delivers_when_it_is_mended() -> None:
    world = World()
    client, server = world.pair()
    world.network.set_link("10.0.0.1", "10.0.0.2", Link.SILENT)
    client.transport.write(b"late")
    world.pump()
    assert server.received == b""
    assert world.connect(world.here.tcp_client("10.0.0.2", 80)) is None
    world.network.set_link("10.0.0.1", "10.0.0.2", Link.UP)
    world.pump()
    assert server.received == b"late"


def test_a_crash_ends_connections_and_listeners() -> None:
    world = World()
    client, _ = world.pair()
    world.network.crash("10.0.0.2")
    world.pump()
    assert client.ended.check(ConnectionLost)
    assert world.connect(world.here.tcp_client("10.0.0.2", 80)).check(NobodyListens)


def test_port_0_takes_a_free_port_and_names_lead_to_addresses() -> None:
    world = World()
    ports: list[Any] = []
    factory = Factory.forProtocol(Recorder)
    factory.noisy = False
    host: MemoryHost = world.there
    host.listen(factory, "", 0, tls=False).addCallback(ports.append)
    host.resolver.addresses("here.test").addCallback(ports.append)
    assert ports[0].getHost().port in host.listening
    assert ports[1] == ["10.0.0.1"]
    ports[0].stopListening()
    assert host.listening == {}
