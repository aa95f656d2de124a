"""From host names and ports to a connection: resolution, the refusal of private addresses, several attempts.

Which names and ports a server has is `discovery`'s to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from minihs.events.ids import InvalidIdentifier, split_server_name
from minihs.federation.addresses import ip_literal, is_public
from minihs.federation.http_exchange import with_bounded_head
from minihs.platform.clock import Clock
from minihs.platform.network import Network

MAX_ADDRESSES = 8
"""How many addresses one connection attempt tries, so that a hostile name costs little."""
MAX_ADDRESSES_OF_TARGET = 4
"""How many of them may be one target's: a host with many dead addresses must not use up its stand-in's."""
STAGGER_MS = 300
"""The next address is tried when the ones before have not connected after this time (RFC 8305 section 5)."""
CONNECT_TIMEOUT_MS = 10_000
RESOLVE_TIMEOUT_MS = 10_000


class CannotConnect(Exception):
    """No address of the other server took a connection; the message says what was tried."""


class AddressRefused(CannotConnect):
    """The name leads only to addresses that outgoing federation may not use."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host name or IP literal (IPv6 in brackets) and a port."""

    host: str
    port: int


class Connector:
    """Makes TLS connections to named targets over a `Network`, for HTTP clients."""

    def __init__(self, network: Network, clock: Clock, *, allow_private_addresses: bool) -> None:
        self._network = network
        self._clock = clock
        self._allow_private = allow_private_addresses

    def endpoint(self, targets: Sequence[Target], verify_name: str) -> IStreamClientEndpoint:
        """An endpoint that connects to the first of `targets` that answers and proves to be `verify_name`."""
        return cast(IStreamClientEndpoint, _TargetsEndpoint(self, tuple(targets), verify_name))

    async def connect(
        self, targets: Sequence[Target], verify_name: str, factory: IProtocolFactory
    ) -> IProtocol:
        """Connect; raises AddressRefused or CannotConnect."""
        addresses: list[tuple[str, int]] = []
        refused: list[str] = []
        unresolved: CannotConnect | None = None
        for target in targets:
            try:
                found = await self._addresses_of(target.host)
            except CannotConnect as error:
                unresolved = unresolved or error  # the next target may be there
                continue
            usable = [address for address in found if self._allow_private or is_public(address)]
            refused.extend(address for address in found if address not in usable)
            tried = _families_in_turn(usable)[:MAX_ADDRESSES_OF_TARGET]
            addresses.extend((address, target.port) for address in tried)
            if len(addresses) >= MAX_ADDRESSES:
                break
        if not addresses:
            if unresolved is not None:
                raise unresolved
            if refused:
                raise AddressRefused(
                    f"{verify_name} leads to {refused[0]}, a private address; "
                    "federation.allow_private_addresses permits those."
                )
            raise CannotConnect(f"{verify_name} has no address.")
        del addresses[MAX_ADDRESSES:]
        attempts = [self._network.tls_client(address, port, verify_name) for address, port in addresses]
        guarded: Any = await _Race(self._clock, attempts, with_bounded_head(factory)).winner
        return cast(IProtocol, guarded.wrappedProtocol)

    async def _addresses_of(self, host: str) -> Sequence[str]:
        literal = ip_literal(host)
        if literal is not None:
            return [literal]
        lookup = self._network.resolver.addresses(host)
        lookup.addTimeout(RESOLVE_TIMEOUT_MS / 1000, cast(Any, self._clock))
        try:
            return await lookup
        except Exception as error:
            raise CannotConnect(f"{host} cannot be resolved: {str(error) or type(error).__name__}") from error


def _families_in_turn(addresses: Sequence[str]) -> list[str]:
    """The addresses with those of IPv4 and IPv6 in turn, so that a broken family is soon passed over."""
    families = [
        [address for address in addresses if ":" not in address],
        [address for address in addresses if ":" in address],
    ]
    families.sort(key=lambda family: family[:1] != list(addresses[:1]))  # what came first goes first
    rounds = zip_longest(*families)
    return [address for turn in rounds for address in turn if address is not None]


@implementer(IStreamClientEndpoint)
@dataclass(frozen=True, slots=True)
class _TargetsEndpoint:
    connector: Connector
    targets: tuple[Target, ...]
    verify_name: str

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self.connector.connect(self.targets, self.verify_name, factory))


@dataclass(slots=True)
class _Race:
    """Tries endpoints one after the other, each after a pause or as soon as those before have failed."""

    clock: Clock
    endpoints: list[IStreamClientEndpoint]
    factory: IProtocolFactory
    winner: Deferred[IProtocol] = field(init=False)
    _running: list[Deferred[IProtocol]] = field(init=False, default_factory=list)
    _next_index: int = field(init=False, default=0)
    _timer: IDelayedCall | None = field(init=False, default=None)
    _failures: list[Failure] = field(init=False, default_factory=list)
    _over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.winner = Deferred(lambda _: self._stop())
        self._start_next()

    def _start_next(self) -> None:
        self._timer = None
        endpoint = self.endpoints[self._next_index]
        self._next_index += 1
        if self._next_index < len(self.endpoints):
            self._timer = self.clock.call_later(STAGGER_MS, self._start_next)
        attempt: Deferred[IProtocol] = cast(Any, endpoint).connect(self.factory)
        attempt.addTimeout(CONNECT_TIMEOUT_MS / 1000, cast(Any, self.clock))
        self._running.append(attempt)
        attempt.addCallbacks(self._connected, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _connected(self, protocol: IProtocol, attempt: Deferred[IProtocol]) -> None:
        self._running.remove(attempt)
        if self._over:
            cast(Any, protocol).transport.loseConnection()
            return
        self._stop()
        self.winner.callback(protocol)

    def _failed(self, failure: Failure, attempt: Deferred[IProtocol]) -> None:
        self._running.remove(attempt)
        if self._over:
            return
        self._failures.append(failure)
        if self._next_index < len(self.endpoints):
            if self._timer is not None:
                cast(Any, self._timer).cancel()
            self._start_next()
        elif not self._running:
            self.winner.errback(CannotConnect(self._failures[0].getErrorMessage()))

    def _stop(self) -> None:
        self._over = True
        if self._timer is not None:
            cast(Any, self._timer).cancel()
            self._timer = None
        for attempt in list(self._running):
            attempt.cancel()


def target_of(name: str, default_port: int) -> Target:
    """The target that a server name (host, optional port) spells out. Raises InvalidIdentifier."""
    host, port = split_server_name(name)
    if port is not None and not 0 < port < 65536:
        raise InvalidIdentifier(f"{name} has a port that does not exist")
    return Target(host, default_port if port is None else port)
