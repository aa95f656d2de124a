"""Server discovery, step by step as the Server-Server API numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from minihs.events.ids import InvalidIdentifier, ServerName
from minihs.federation.connecting import Target
from minihs.federation.discovery import ROUTE_LIFE_MS, Discovery, Route, in_order_of_preference
from minihs.federation.well_known import WellKnown
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy
from minihs.platform.network import SrvRecord
from tests.support.deferreds import run


@dataclass
class Dns:
    """SRV records by name; a name in `broken` cannot be looked up."""

    records: dict[str, list[SrvRecord]] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def addresses(self, host: str) -> Deferred[Sequence[str]]:
        raise AssertionError("discovery resolves no addresses")

    def srv(self, name: str) -> Deferred[Sequence[SrvRecord]]:
        self.asked.append(name)
        if name in self.broken:
            return fail(TimeoutError(name))
        return succeed(self.records.get(name, []))


@dataclass
class Published:
    """What `.well-known` of each host says."""

    names: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def lookup(self, hostname: str) -> WellKnown:
        self.asked.append(hostname)
        name = self.names.get(hostname)
        return WellKnown(None if name is None else ServerName(name), 10_000_000.0)


def srv(target: str, port: int, priority: int = 10, weight: int = 5) -> SrvRecord:
    return SrvRecord(priority, weight, port, target)


FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."

# step: (server name, .well-known, SRV records, Host header, certificate, targets)
STEPS: dict[str, tuple[str, dict[str, str], dict[str, list[SrvRecord]], str, str, list[Target]]] = {
    "1 IPv4 literal": ("1.2.3.4", {}, {}, "1.2.3.4", "1.2.3.4", [Target("1.2.3.4", 8448)]),
    "1 IPv4 literal with port": ("1.2.3.4:5", {}, {}, "1.2.3.4:5", "1.2.3.4", [Target("1.2.3.4", 5)]),
    "1 IPv6 literal": ("[::1]", {}, {}, "[::1]", "::1", [Target("[::1]", 8448)]),
    "1 IPv6 literal with port": ("[::1]:5", {}, {}, "[::1]:5", "::1", [Target("[::1]", 5)]),
    "2 explicit port": ("a.test:80", {"a.test": "b.test"}, {}, "a.test:80", "a.test", [Target("a.test", 80)]),
    "3.1 delegated to an IP literal": (
        "a.test", {"a.test": "1.2.3.4"}, {}, "1.2.3.4", "1.2.3.4", [Target("1.2.3.4", 8448)],
    ),
    "3.1 delegated to an IP literal with port": (
        "a.test", {"a.test": "[::1]:9"}, {}, "[::1]:9", "::1", [Target("[::1]", 9)],
    ),
    "3.2 delegated with port": (
        "a.test", {"a.test": "b.test:9"}, {FED + "b.test": [srv("c.test", 1)]},
        "b.test:9", "b.test", [Target("b.test", 9)],
    ),
    "3.3 delegated, SRV": (
        "a.test", {"a.test": "b.test"},
        {FED + "b.test": [srv("c.test", 1)], OLD + "b.test": [srv("d.test", 2)]},
        "b.test", "b.test", [Target("c.test", 1)],
    ),
    "3.4 delegated, old SRV": (
        "a.test", {"a.test": "b.test"}, {OLD + "b.test": [srv("d.test", 2)]},
        "b.test", "b.test", [Target("d.test", 2)],
    ),
    "3.5 delegated, no SRV": (
        "a.test", {"a.test": "b.test"}, {FED + "a.test": [srv("c.test", 1)]},
        "b.test", "b.test", [Target("b.test", 8448)],
    ),
    "4 SRV": (
        "a.test", {}, {FED + "a.test": [srv("c.test", 1)], OLD + "a.test": [srv("d.test", 2)]},
        "a.test", "a.test", [Target("c.test", 1)],
    ),
    "5 old SRV": (
        "a.test", {}, {OLD + "a.test": [srv("d.test.", 2)]}, "a.test", "a.test", [Target("d.test", 2)],
    ),
    "6 nothing": ("a.test", {}, {}, "a.test", "a.test", [Target("a.test", 8448)]),
}  # fmt: skip


def discovery(published: dict[str, str], dns: Dns) -> tuple[Discovery, VirtualClock, Published]:
    clock, source = VirtualClock(), Published(published)
    return (
        Discovery(clock=clock, entropy=SeededEntropy(1), resolver=dns, well_known=source),
        clock,
        source,
    )


@pytest.mark.parametrize("step", STEPS)
def test_each_step_leads_to_its_host_header_certificate_and_targets(step: str) -> None:
    name, published, records, host_header, verify_name, targets = STEPS[step]
    finding, clock, _ = discovery(published, Dns(records))
    route = run(clock, finding.route_to(ServerName(name)))
    assert route == Route(host_header, verify_name, tuple(targets))


@pytest.mark.parametrize("name", ["1.2.3.4", "[::1]", "a.test:80"])
def test_names_that_spell_everything_out_ask_nobody(name: str) -> None:
    dns = Dns()
    finding, clock, source = discovery({}, dns)
    run(clock, finding.route_to(ServerName(name)))
    assert (source.asked, dns.asked) == ([], [])


def test_a_lookup_that_fails_is_one_that_found_nothing() -> None:
    finding, clock, _ = discovery({}, Dns({OLD + "a.test": [srv("d.test", 2)]}, (FED + "a.test",)))
    assert run(clock, finding.route_to(ServerName("a.test"))).targets == (Target("d.test", 2),)


@pytest.mark.parametrize("target", [".", "", "1.2.3.4", "bad name"])
def test_srv_targets_that_are_no_host_names_are_left_out(target: str) -> None:
    finding, clock, _ = discovery({}, Dns({FED + "a.test": [srv(target, 1), srv("c.test", 2)]}))
    assert run(clock, finding.route_to(ServerName("a.test"))).targets == (Target("c.test", 2),)


def test_of_too_many_srv_records_the_preferred_ones_count() -> None:
    records = [srv(f"h{number}.test", 1, priority=20 - number) for number in range(20)]
    finding, clock, _ = discovery({}, Dns({FED + "a.test": records}))
    targets = run(clock, finding.route_to(ServerName("a.test"))).targets
    assert [target.host for target in targets] == [f"h{number}.test" for number in range(19, 11, -1)]


@pytest.mark.parametrize("name", ["a.test:0", "a.test:65536", "a b", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    finding, clock, _ = discovery({}, Dns())
    with pytest.raises(InvalidIdentifier):
        run(clock, finding.route_to(ServerName(name)))


def test_a_route_is_remembered_for_a_while_and_can_be_forgotten() -> None:
    dns = Dns()
    finding, clock, _ = discovery({}, dns)
    name = ServerName("a.test")
    route = run(clock, finding.route_to(name))
    assert finding.known_route(name) == route
    run(clock, finding.route_to(name))
    assert len(dns.asked) == 2
    clock.advance(ROUTE_LIFE_MS / 1000)
    assert finding.known_route(name) is None
    run(clock, finding.route_to(name))
    finding.forget(name)
    run(clock, finding.route_to(name))
    assert len(dns.asked) == 6


@given(
    st.lists(
        st.builds(SrvRecord, st.integers(0, 3), st.integers(0, 9), st.integers(1, 9), st.just("t")),
        max_size=8,
    )
)
def test_srv_records_are_ordered_by_priority_and_none_is_lost(records: list[SrvRecord]) -> None:
    ordered = in_order_of_preference(records, SeededEntropy(7))
    assert [record.priority for record in ordered] == sorted(record.priority for record in records)
    assert sorted(map(repr, ordered)) == sorted(map(repr, records))


def test_heavier_srv_records_are_chosen_more_often() -> None:
    entropy = SeededEntropy(1)
    heavy, light = srv("heavy", 1, weight=90), srv("light", 1, weight=10)
    first = [in_order_of_preference([light, heavy], entropy)[0].target for _ in range(300)]
    assert 240 < first.count("heavy") < 295
