"""Two servers over a network in memory: signed requests, keys fetched, transactions delivered."""

from __future__ import annotations

import pytest

from minihs.events.ids import ServerName
from minihs.federation.client import RemoteRefusal, Unreachable
from tests.support.federation import World

HS1, HS2 = ServerName("hs1.test"), ServerName("hs2.test")


def test_a_server_tells_its_name_and_version_to_another() -> None:
    world = World()
    one, _ = world.node(HS1), world.node(HS2)
    answer = world.finish(one.client.get(HS2, "/_matrix/federation/v1/version"))
    assert answer == {"server": {"name": "minihs", "version": "1.2.3"}}


def test_a_signed_request_is_accepted_after_the_keys_were_fetched() -> None:
    world = World()
    one, two = world.node(HS1), world.node(HS2)
    answer = world.finish(one.client.put(HS2, "/_matrix/federation/v1/send/1", {"pdus": [], "text": "ü"}))
    assert answer == {"pdus": {}}
    assert [transaction.origin for transaction in two.inbox.received] == [HS1]


def test_the_refusal_of_another_server_is_told_with_its_errcode() -> None:
    world = World()
    one, _ = world.node(HS1), world.node(HS2)
    with pytest.raises(RemoteRefusal) as refusal:
        world.finish(one.client.get(HS2, "/_matrix/federation/v1/nothing"))
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_UNRECOGNIZED")


def test_a_private_address_is_refused_by_default() -> None:
    world = World()
    one, _ = world.node(HS1, allow_private_addresses=False), world.node(HS2)
    with pytest.raises(Unreachable, match=r"10\.0\.0\.2, a private address"):
        world.finish(one.client.get(HS2, "/_matrix/federation/v1/version"))


def test_an_event_is_sent_when_it_is_committed() -> None:
    world = World()
    one, two = world.node(HS1), world.node(HS2)
    one.queue_event("hello", [HS2])
    world.pass_time(100)
    assert two.inbox.texts == ["hello"]
    assert one.destination(HS2) == {
        "server_name": HS2,
        "sent_position": 1,
        "sending_position": None,
        "failing_since_ms": None,
        "retry_at_ms": None,
        "retry_interval_ms": None,
    }
