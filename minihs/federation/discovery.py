"""From a server name to where its federation requests go: the numbered steps, and nothing of sockets.

Answers to "Resolving server names" in the Server-Server API; the steps below carry its numbers. What makes
connections out of a route, and refuses private addresses, is `connecting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import msgspec

from minihs.events.ids import InvalidIdentifier, ServerName, split_server_name
from minihs.federation.addresses import ip_literal
from minihs.federation.bounded_cache import BoundedCache
from minihs.federation.connecting import Target, target_of
from minihs.federation.shared_work import SharedWork
from minihs.federation.well_known import WellKnown
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, fraction
from minihs.platform.network import Resolver, SrvRecord

DEFAULT_PORT = 8448
ROUTE_LIFE_MS = 5 * 60_000
"""How long a route that DNS had a part in is used before it is looked up again."""
CACHED_ROUTES = 10_000
MAX_SRV_RECORDS = 8
SRV_TIMEOUT_MS = 10_000


class Route(msgspec.Struct, frozen=True):
    """Where the requests for one server go, and how they are addressed.

    `verify_name` is the DNS name or IP literal that the certificate must be for; a DNS name is sent as SNI.
    """

    host_header: str
    verify_name: str
    targets: tuple[Target, ...]


class WellKnownSource(Protocol):
    """What discovery needs of `well_known.WellKnownClient`."""

    async def lookup(self, hostname: str) -> WellKnown: ...


class Discovery:
    """Finds routes and remembers them for a while."""

    def __init__(
        self, *, clock: Clock, entropy: Entropy, resolver: Resolver, well_known: WellKnownSource
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._resolver = resolver
        self._well_known = well_known
        self._routes: BoundedCache[ServerName, Route] = BoundedCache(CACHED_ROUTES)
        self._searches: SharedWork[ServerName, Route] = SharedWork()

    def known_route(self, server_name: ServerName) -> Route | None:
        """The route, when it is known without asking anybody."""
        return self._routes.get(server_name, self._clock.monotonic_ms())

    async def route_to(self, server_name: ServerName) -> Route:
        """The route to a server. Raises InvalidIdentifier when the name is none."""
        return self.known_route(server_name) or await self._searches.run(
            server_name, lambda: self._search(server_name)
        )

    def forget(self, server_name: ServerName) -> None:
        """The route did not work: look again next time. What `.well-known` said keeps its own lifetime."""
        self._routes.discard(server_name)

    async def _search(self, server_name: ServerName) -> Route:
        host, port = split_server_name(server_name)
        ends_ms = self._clock.monotonic_ms() + ROUTE_LIFE_MS
        if ip_literal(host) is not None or port is not None:
            route = _spelled_out(server_name)  # steps 1 and 2
            ends_ms = float("inf")
        else:
            # 3. Ask https://<hostname>/.well-known/matrix/server.
            well_known = await self._well_known.lookup(host)
            delegated = well_known.delegated_name
            if delegated is None:
                route = await self._by_srv(host)  # steps 4, 5 and 6
            else:
                ends_ms = min(ends_ms, well_known.ends_ms)
                delegated_host, delegated_port = split_server_name(delegated)
                if ip_literal(delegated_host) is not None or delegated_port is not None:
                    route = _spelled_out(delegated)  # steps 3.1 and 3.2
                else:
                    route = await self._by_srv(delegated_host)  # steps 3.3, 3.4 and 3.5
        self._routes.put(server_name, route, ends_ms)
        return route

    async def _by_srv(self, host: str) -> Route:
        """Steps 4 to 6 for `<hostname>`; with a delegated one, steps 3.3 to 3.5, which are the same.

        Whatever SRV says, the Host header and the certificate stay those of `host`.
        """
        # 4 and 3.3: the registered service name; 5 and 3.4 (deprecated): the one from before.
        for service in ("_matrix-fed", "_matrix"):
            targets = await self._srv_targets(f"{service}._tcp.{host}")
            if targets:
                return Route(host, host, targets)
        # 6 and 3.5: the host itself, at the default port.
        return Route(host, host, (Target(host, DEFAULT_PORT),))

    async def _srv_targets(self, name: str) -> tuple[Target, ...]:
        lookup = self._resolver.srv(name)
        lookup.addTimeout(SRV_TIMEOUT_MS / 1000, cast(Any, self._clock))
        try:
            records = await lookup
        except Exception:  # noqa: BLE001 - a lookup that fails is one that found nothing
            return ()
        targets: list[Target] = []
        by_priority = sorted(records, key=lambda record: (record.priority, record.target, record.port))
        for record in in_order_of_preference(by_priority[:MAX_SRV_RECORDS], self._entropy):
            host = record.target.rstrip(".")
            # "." means that the service is decidedly not offered; an address is not a legal target.
            if host and ip_literal(host) is None:
                try:
                    targets.append(target_of(f"{host}:{record.port}", record.port))
                except InvalidIdentifier:
                    continue
        return tuple(targets)


def _spelled_out(name: str) -> Route:
    """A name that needs no further question.

    1. and 3.1: an IP literal, with its port or the default one; the certificate is for the address.
    2. and 3.2: a host name with a port; the certificate is for the host name.
    The Host header is the name as it was written.
    """
    target = target_of(name, DEFAULT_PORT)
    return Route(name, ip_literal(target.host) or target.host, (target,))


def in_order_of_preference(records: Sequence[SrvRecord], entropy: Entropy) -> list[SrvRecord]:
    """SRV records by priority and, within one, drawn at random by weight (RFC 2782)."""
    ordered: list[SrvRecord] = []
    for priority in sorted({record.priority for record in records}):
        # Those of weight 0 come first in the draw, as the RFC wants; the rest of the order must be stable.
        waiting = sorted(
            (record for record in records if record.priority == priority),
            key=lambda record: (record.weight > 0, record.target, record.port),
        )
        while waiting:
            draw = fraction(entropy) * sum(record.weight for record in waiting)
            drawn = 0
            while drawn < len(waiting) - 1 and draw > waiting[drawn].weight:
                draw -= waiting[drawn].weight
                drawn += 1
            ordered.append(waiting.pop(drawn))
    return ordered
