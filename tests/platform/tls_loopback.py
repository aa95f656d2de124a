"""Run as a program: real sockets, TLS and DNS on loopback, in a process with a reactor of its own.

`python -m tests.platform.tls_loopback FOLDER` makes an authority there, listens with a certificate for
`localhost` and `127.0.0.1`, connects in the ways that `SCENARIOS` names; prints what came of each as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.names import dns, error
from twisted.names.common import ResolverBase
from twisted.names.server import DNSServerFactory

from minihs.federation.dev_ca import DevCa
from minihs.federation.tls import ClientTls, ServerTls
from minihs.platform.reactor_network import DnsResolver, ReactorNetwork

# name: (address, name to verify, whether our authority is trusted)
SCENARIOS = {
    "a good name": ("127.0.0.1", "localhost", True),
    "a good address": ("127.0.0.1", "127.0.0.1", True),
    "another name": ("127.0.0.1", "example.org", True),
    "another address": ("127.0.0.1", "127.0.0.2", True),
    "an unknown authority": ("127.0.0.1", "localhost", False),
}


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.transport.write(data)


class Asking(Protocol):
    def __init__(self) -> None:
        self.ended: defer.Deferred[str] = defer.Deferred()

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.ended.callback(f"echoed {data.decode()}")
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        if not self.ended.called:
            self.ended.callback(f"refused: {type(reason.value).__name__}")


async def main(folder: Path) -> None:
    files = DevCa(folder / "ours").issue("server", ["localhost", "127.0.0.1"])
    server = ReactorNetwork(reactor, server_tls=ServerTls(files.certificate, files.private_key))
    listening = await server.listen(Factory.forProtocol(Echo), "127.0.0.1", 0, tls=True)
    port = listening.getHost().port
    outcomes = {}
    for name, (address, verify_name, trusted) in SCENARIOS.items():
        authority = DevCa(folder / ("ours" if trusted else "theirs"))
        client = ReactorNetwork(reactor, client_tls=ClientTls(authority.certificate))
        asking = await client.tls_client(address, port, verify_name).connect(Factory.forProtocol(Asking))
        outcomes[name] = await asking.ended
    outcomes["localhost leads to"] = list(await server.resolver.addresses("localhost"))
    await listening.stopListening()
    outcomes.update(await dns_outcomes())
    print(json.dumps(outcomes))


class Zone(ResolverBase):
    """Knows `two.test` (of both kinds), `_matrix-fed._tcp.two.test`, and that nothing else exists."""

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> defer.Deferred[Any]:  # noqa: A002
        records: dict[tuple[bytes, int], list[Any]] = {
            (b"two.test", dns.A): [dns.Record_A("192.0.2.1"), dns.Record_A("192.0.2.2")],
            (b"two.test", dns.AAAA): [dns.Record_AAAA("2001:db8::1")],
            (b"four.test", dns.A): [dns.Record_A("192.0.2.4")],
            (b"four.test", dns.AAAA): [],
            (b"_matrix-fed._tcp.two.test", dns.SRV): [dns.Record_SRV(10, 5, 8443, b"target.two.test")],
        }
        found = records.get((name, type))
        if found is None:
            return defer.fail(error.DomainError(name))
        return defer.succeed(([dns.RRHeader(name, type, payload=record) for record in found], [], []))


async def dns_outcomes() -> dict[str, Any]:
    protocol = dns.DNSDatagramProtocol(DNSServerFactory(clients=[Zone()]))
    port = reactor.listenUDP(0, protocol, "127.0.0.1")
    resolver = DnsResolver(reactor, [("127.0.0.1", port.getHost().port)])
    outcomes = {
        "A and AAAA": list(await resolver.addresses("two.test")),
        "A alone": list(await resolver.addresses("four.test")),
        "no addresses": list(await resolver.addresses("missing.test")),
        "SRV": [repr(record) for record in await resolver.srv("_matrix-fed._tcp.two.test")],
        "no SRV": list(await resolver.srv("_matrix._tcp.two.test")),
    }
    await port.stopListening()
    return outcomes


if __name__ == "__main__":
    react(lambda _reactor: defer.Deferred.fromCoroutine(main(Path(sys.argv[1]))))
