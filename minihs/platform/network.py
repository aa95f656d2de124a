"""The network seam: where connections and listeners come from.

A real server is given `ReactorNetwork` (sockets, TLS, DNS); a virtual world gives every server a view of one
in-memory network. Federation and HTTP code see only these protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamClientEndpoint


class SrvRecord(msgspec.Struct, frozen=True):
    """One answer to an SRV query."""

    priority: int
    weight: int
    port: int
    target: str


class Resolver(Protocol):
    """DNS, as far as server discovery needs it."""

    def addresses(self, host: str) -> Deferred[Sequence[str]]:
        """IPv4 and IPv6 addresses of `host`, in order of preference; [] when there are none."""

    def srv(self, name: str) -> Deferred[Sequence[SrvRecord]]:
        """The SRV records of `name` in the order of the answer; [] when there are none."""


class Network(Protocol):
    """Makes connections and listeners."""

    resolver: Resolver

    def tcp_client(self, address: str, port: int) -> IStreamClientEndpoint:
        """An endpoint that connects to an IP address in the clear."""

    def tls_client(self, address: str, port: int, verify_name: str) -> IStreamClientEndpoint:
        """An endpoint that connects to an IP address over TLS and checks the certificate for `verify_name`
        (a DNS name, sent as SNI, or an IP literal)."""

    def listen(
        self, factory: IProtocolFactory, host: str, port: int, *, tls: bool
    ) -> Deferred[IListeningPort]:
        """Listen; with `tls`, with the server's own certificate. Port 0 takes any free one."""
