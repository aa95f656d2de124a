"""Which addresses outgoing federation may connect to."""

import pytest

from minihs.federation.addresses import ip_literal, is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:1.1.1.1",
     "64:ff9b::101:101", "2002:101:101::1"],
)  # fmt: skip
def test_a_global_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
     "192.168.1.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
     "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "2001::1", "100::1"],
)  # fmt: skip
def test_a_special_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "::ffff:10.0.0.1", "::127.0.0.1"]
)
def test_a_private_ipv4_address_inside_an_ipv6_one_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "example.org", "127.1", "0x7f.0.0.1", "fe80::1%eth0", "[::1]"])
def test_what_is_no_plain_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    ("host", "literal"),
    [("1.2.3.4", "1.2.3.4"), ("[::1]", "::1"), ("[2606:4700:0::1111]", "2606:4700::1111")],
)
def test_an_ip_literal_is_recognised(host: str, literal: str) -> None:
    assert ip_literal(host) == literal


@pytest.mark.parametrize("host", ["example.org", "1.2.3", "::1", "[fe80::1%1]", "1.2.3.4.example", "[]"])
def test_other_hosts_are_no_ip_literals(host: str) -> None:
    assert ip_literal(host) is None
