"""Which address a request came from, when a reverse proxy may stand before the server.

Forwarding headers are believed only when a trusted proxy wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` counts (setting `http.trusted_proxies`).

    `networks` are addresses or CIDR blocks; ValueError names one that is neither.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(text, strict=False) for text in networks
        ]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def client_address(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client behind a connection from `peer`.

        `forwarded_for` are the values of `X-Forwarded-For` in their order. Each proxy appends the address
        that it saw, so the list is read from its end: the first address that is no trusted proxy is the
        client's, and what stands before it is only its claim.
        """
        client = peer
        if not self._trusts(peer):
            return client
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                return client
            client = str(address)
            if not self._trusts(client):
                return client
        return client

    def _trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
