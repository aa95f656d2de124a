"""Keys over HTTP: our own, and other servers' as a notary."""

from __future__ import annotations

from typing import Any

import pytest
from signedjson.key import get_verify_key
from signedjson.sign import verify_signed_json

from minihs.events.ids import ServerName
from minihs.federation.client import RemoteRefusal
from minihs.federation.key_documents import OWN_VALIDITY_MS, read_document
from tests.support.federation import Node, World
from tests.support.http import HttpDriver

HS1, HS2, HS3 = ServerName("hs1.test"), ServerName("hs2.test"), ServerName("hs3.test")


class Notaries(World):
    """hs1 asks the notary hs3 about hs2."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = self.node(HS1), self.node(HS2), self.node(HS3)

    def query(self, server_name: str = HS2, **args: str) -> list[Any]:
        path = f"/_matrix/key/v2/query/{server_name}"
        answer = self.finish(self.one.client.get(HS3, path, args))
        return list(answer["server_keys"])

    def query_many(self, body: Any) -> list[Any]:
        return list(self.finish(self.one.client.post(HS3, "/_matrix/key/v2/query", body))["server_keys"])


def assert_notarised(document: dict[str, Any], notary: Node, about: Node, now_ms: int) -> None:
    assert set(read_document(document, about.name, now_ms)) == {about.keys.signer.key_id}
    verify_signed_json(document, notary.name, get_verify_key(notary.keys.signer.key))


def test_a_server_publishes_its_keys() -> None:
    world = Notaries()
    document = world.finish(world.one.client.get(HS2, "/_matrix/key/v2/server"))
    assert set(read_document(document, HS2, world.clock.wall_ms())) == {world.two.keys.signer.key_id}


def test_the_published_document_is_renewed_when_half_of_its_time_is_over() -> None:
    world = Notaries()
    first = world.two.keyring.own_document()
    world.clock.advance(OWN_VALIDITY_MS / 2 / 1000 - 1)
    assert world.two.keyring.own_document() is first
    world.clock.advance(2)
    assert world.two.keyring.own_document()["valid_until_ts"] > first["valid_until_ts"]
    world.clock.step_wall(-10 * OWN_VALIDITY_MS)
    assert world.two.keyring.own_document()["valid_until_ts"] < first["valid_until_ts"]


def test_a_notary_signs_what_it_fetched() -> None:
    world = Notaries()
    [document] = world.query()
    assert_notarised(document, world.three, world.two, world.clock.wall_ms())


def test_a_notary_asks_again_when_half_of_the_time_is_over_or_longer_validity_is_wanted() -> None:
    world = Notaries()
    [first] = world.query()
    assert world.query() == [first]
    [still] = world.query(minimum_valid_until_ts=str(first["valid_until_ts"]))
    assert still == first
    world.clock.advance(OWN_VALIDITY_MS * 0.6 / 1000)
    [renewed] = world.query()
    assert renewed["valid_until_ts"] > first["valid_until_ts"]


def test_a_notary_goes_on_with_the_last_keys_of_a_server_that_is_gone() -> None:
    world = Notaries()
    [first] = world.query()
    world.network.crash(world.two.host.address)
    world.clock.advance(OWN_VALIDITY_MS * 3 / 1000)
    assert world.query() == [first]


def test_a_notary_leaves_out_servers_of_which_it_knows_nothing() -> None:
    world = Notaries()
    assert world.query("unknown.test") == []
    documents = world.query_many({"server_keys": {HS2: {}, "unknown.test": {}, HS3: {}}})
    assert [document["server_name"] for document in documents] == [HS2, HS3]


def test_several_servers_are_asked_for_at_once() -> None:
    world = Notaries()
    wanted = {HS2: {"ed25519:any": {"minimum_valid_until_ts": 5}}, HS1: {"ed25519:x": {}}}
    documents = world.query_many({"server_keys": wanted})
    assert_notarised(documents[0], world.three, world.one, world.clock.wall_ms())
    assert_notarised(documents[1], world.three, world.two, world.clock.wall_ms())
    assert world.query_many({"server_keys": {}}) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"server_keys": []}, "M_BAD_JSON"),
        ({"server_keys": {"hs2.test": {"x": {"minimum_valid_until_ts": "1"}}}}, "M_BAD_JSON"),
        ({"server_keys": {"bad name": {}}}, "M_INVALID_PARAM"),
        ({"server_keys": {f"s{n}.test": {} for n in range(51)}}, "M_INVALID_PARAM"),
    ],
)
def test_a_malformed_query_is_refused(body: Any, errcode: str) -> None:
    with pytest.raises(RemoteRefusal) as refusal:
        Notaries().query_many(body)
    assert refusal.value.status == 400
    assert refusal.value.errcode in {errcode, "M_INVALID_PARAM" if errcode == "M_BAD_JSON" else errcode}


@pytest.mark.parametrize(
    "path", ["/_matrix/key/v2/query/bad%20name", "/_matrix/key/v2/query/a?minimum_valid_until_ts=x"]
)
def test_a_malformed_name_or_time_is_refused(path: str) -> None:
    world = Notaries()
    with pytest.raises(RemoteRefusal) as refusal:
        world.finish(world.one.client.get(HS3, path))
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "must be signed"),
        ("Bearer x", "scheme X-Matrix"),
        ('X-Matrix origin="hs1.test",key="ed25519:1",sig="x"', "no current key ed25519:1"),
        ("X-Matrix origin=\u00fc", "must be ASCII"),
    ],
)
def test_a_request_without_a_good_signature_to_a_signed_route_is_unauthorised(
    header: str | None, reason: str
) -> None:
    world = Notaries()
    driver = HttpDriver(world.three.site, world.clock)
    headers = {} if header is None else {"Authorization": header}
    response = driver.request("PUT", "/_matrix/federation/v1/send/1", json={}, headers=headers)
    assert (response.status, response.errcode) == (401, "M_UNAUTHORIZED")
    assert reason in response.json["error"]
    assert world.three.inbox.received == []


def test_the_name_and_version_of_the_program_are_open() -> None:
    world = Notaries()
    response = HttpDriver(world.three.site, world.clock).request("GET", "/_matrix/federation/v1/version")
    assert response.json == {"server": {"name": "minihs", "version": "1.2.3"}}
