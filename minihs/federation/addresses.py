"""Which IP addresses outgoing federation may connect to. No sockets here.

A name that an attacker chose must not lead us into our own network: the check is made on the address, after
resolution, and again for every redirect and every delegation.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# The IANA special-purpose address registries (RFC 6890 and what came after), and multicast.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927 (cloud metadata services live here)
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # former 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved and broadcast, RFC 1112 and RFC 919
    )
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")  # RFC 4291; everything outside of it is special
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments with Teredo, RFC 2928 and RFC 4380
        "2001:db8::/32",  # documentation, RFC 3849
        "3fff::/20",  # documentation, RFC 9637
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056: an IPv4 address in bits 16 to 48


def is_public(address: str) -> bool:
    """Whether `address` (an IP literal without brackets) is one that a stranger's server may have.

    Addresses that carry an IPv4 address (mapped, NAT64, 6to4) are judged by it. Text that is no address, or
    one with a zone (`fe80::1%eth0`), is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    return _is_public_v6(parsed)


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in network for network in _REFUSED_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    embedded = address.ipv4_mapped
    if embedded is None and address in _NAT64:
        embedded = IPv4Address(int(address) & 0xFFFF_FFFF)
    elif embedded is None and address in _SIX_TO_FOUR:
        embedded = IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    if embedded is not None:
        return _is_public_v4(embedded)
    return address in _GLOBAL_UNICAST_V6 and not any(address in network for network in _REFUSED_V6)


def ip_literal(host: str) -> str | None:
    """The IP address that `host` (as in a server name: IPv6 in brackets) spells; None when it is a name."""
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and (text is host or parsed.scope_id is not None):
        return None
    return str(parsed)
