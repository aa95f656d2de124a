"""The network of a real server: sockets, TLS and DNS over Twisted's reactor.

What is trusted and presented over TLS comes from outside (`federation.tls`); this module only joins it to
sockets. The resolver is made when it is first asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from minihs.platform.network import Resolver, SrvRecord

CONNECT_TIMEOUT_S = 10
DNS_TIMEOUTS_S = (1, 3, 5)
"""How long each attempt of a DNS query waits."""
RESOLV_CONF = "/etc/resolv.conf"
HOSTS_FILE = "/etc/hosts"
LISTEN_BACKLOG = 512
LOCALHOST = ("127.0.0.1", "::1")
"""What `localhost` and names under it mean, whatever DNS says (RFC 6761 section 6.3)."""


class NoClientTls(Exception):
    """A TLS connection was asked of a network that was made without the means."""


class ClientTlsSource(Protocol):
    """What the network needs of `federation.tls.ClientTls`."""

    def creator_for(self, verify_name: str) -> Any: ...


class ReactorNetwork:
    """Connections and listeners of one process.

    `server_tls` is an IOpenSSLServerConnectionCreator, needed for listening with TLS.
    """

    resolver: Resolver

    def __init__(
        self, reactor: Any, *, client_tls: ClientTlsSource | None = None, server_tls: Any = None
    ) -> None:
        self._reactor = reactor
        self._client_tls = client_tls
        self._server_tls = server_tls
        self.resolver = DnsResolver(reactor)

    def tcp_client(self, address: str, port: int) -> IStreamClientEndpoint:
        """An endpoint in the clear."""
        endpoint = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return cast(
            IStreamClientEndpoint,
            cast(Any, endpoint)(self._reactor, address, port, timeout=CONNECT_TIMEOUT_S),
        )

    def tls_client(self, address: str, port: int, verify_name: str) -> IStreamClientEndpoint:
        """An endpoint over TLS that demands a certificate for `verify_name`."""
        if self._client_tls is None:
            raise NoClientTls("This network was made without TLS for outgoing connections.")
        creator = self._client_tls.creator_for(verify_name)
        plain = self.tcp_client(address, port)
        return cast(IStreamClientEndpoint, _TlsEndpoint(plain, creator, self._reactor))

    def listen(
        self, factory: IProtocolFactory, host: str, port: int, *, tls: bool
    ) -> Deferred[IListeningPort]:
        """Listen at `host`, an IP address; the Deferred fails when the port cannot be had."""
        listened: Any = factory
        if tls:
            listened = TLSMemoryBIOFactory(self._server_tls, False, factory, self._reactor)
            listened.protocol = _PromptTlsProtocol
        listening: Deferred[IListeningPort] = Deferred()
        try:
            listening.callback(
                self._reactor.listenTCP(port, listened, backlog=LISTEN_BACKLOG, interface=host)
            )
        except OSError:
            listening.errback()
        except Exception:  # noqa: BLE001 - Twisted's CannotListenError is no OSError
            listening.errback()
        return listening


class _PromptTlsProtocol(TLSMemoryBIOProtocol):
    """TLS that writes each record at once: a request is written in one or two pieces and waits for nobody."""

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        transport.setTcpNoDelay(True)
        cast(Any, super()).makeConnection(transport)


@implementer(IStreamClientEndpoint)
class _TlsEndpoint:
    def __init__(self, plain: IStreamClientEndpoint, creator: Any, reactor: Any) -> None:
        self._plain: Any = plain
        self._creator = creator
        self._reactor = reactor

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        wrapping: Any = TLSMemoryBIOFactory(self._creator, True, factory, self._reactor)
        wrapping.protocol = _PromptTlsProtocol
        connecting: Deferred[IProtocol] = self._plain.connect(wrapping).addCallback(
            lambda protocol: protocol.wrappedProtocol
        )
        return connecting


class DnsResolver:
    """twisted.names, with the system's `hosts` and `resolv.conf`.

    `servers` (address and port) are asked instead of those that `resolv.conf` names.
    """

    def __init__(self, reactor: Any, servers: Sequence[tuple[str, int]] | None = None) -> None:
        self._reactor = reactor
        self._servers = servers
        self._made: Any = None

    def addresses(self, host: str) -> Deferred[Sequence[str]]:
        """IPv4 addresses first, then IPv6 ones; fails when neither query was answered."""
        if host == "localhost" or host.endswith(".localhost"):
            return succeed(LOCALHOST)
        listed = self._in_hosts_file(host)
        if listed:
            return succeed(listed)
        client = self._client()
        queries = [
            client.lookupAddress(host, timeout=DNS_TIMEOUTS_S),
            client.lookupIPV6Address(host, timeout=DNS_TIMEOUTS_S),
        ]
        return DeferredList(queries, consumeErrors=True).addCallback(self._addresses_in)

    def srv(self, name: str) -> Deferred[Sequence[SrvRecord]]:
        """The SRV records of `name`."""
        query: Deferred[Any] = self._client().lookupService(name, timeout=DNS_TIMEOUTS_S)
        return query.addCallbacks(self._srv_records_in, self._absent_or_failed)

    def _client(self) -> Any:
        if self._made is None:
            # Imported late: a server that talks to nobody needs no DNS.
            from twisted.names.client import Resolver as DnsClient

            client: Any = DnsClient
            if self._servers is None:
                self._made = client(RESOLV_CONF, reactor=self._reactor)
            else:
                self._made = client(servers=list(self._servers), reactor=self._reactor)
        return self._made

    def _in_hosts_file(self, host: str) -> Sequence[str]:
        from twisted.names.hosts import searchFileForAll
        from twisted.python.filepath import FilePath

        return list(cast(Any, searchFileForAll)(FilePath(HOSTS_FILE), host.encode("ascii")))

    def _addresses_in(self, results: list[tuple[bool, Any]]) -> list[str]:
        from twisted.names import dns
        from twisted.names.error import DomainError

        found: list[str] = []
        for succeeded, result in results:
            if succeeded:
                found.extend(
                    inet_ntop(AF_INET6 if record.type == dns.AAAA else AF_INET, record.payload.address)
                    for record in result[0]
                    if record.type in (dns.A, dns.AAAA)
                )
        if not found:
            for succeeded, result in results:
                if not succeeded and not result.check(DomainError):
                    result.raiseException()
        return found

    def _srv_records_in(self, result: Any) -> list[SrvRecord]:
        from twisted.names import dns

        return [
            SrvRecord(
                priority=record.payload.priority,
                weight=record.payload.weight,
                port=record.payload.port,
                target=record.payload.target.name.decode("ascii", "replace"),
            )
            for record in result[0]
            if record.type == dns.SRV
        ]

    def _absent_or_failed(self, failure: Any) -> list[SrvRecord]:
        from twisted.names.error import DomainError

        failure.trap(DomainError)  # NXDOMAIN and its like: there are none
        return []
