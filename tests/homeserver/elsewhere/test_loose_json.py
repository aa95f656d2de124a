"""JSON that canonical JSON has no place for: part of rooms up to version 5, dropped since."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.event import Event, parse_event
from minihs.events.hashes import content_hash, event_id_of
from minihs.events.ids import EventID
from minihs.events.signatures import sign_pdu
from minihs.events.versions import ROOM_VERSIONS
from minihs.store.events import Standing
from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, meeting, standing
from tests.support.events import signer_of
from tests.support.federated import FederatedServer

LOOSE: list[dict[str, Any]] = [
    {"n": 51146.98},
    {"n": 1e22, "tiny": 5e-324},
    {"n": -0.0},
    {"n": 2**53},
    {"n": -(2**70)},
    {"list": [{"deep": 0.5}]},
]


def loosely(event: Event, content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The event with other content, hashed and signed, as a server that does not check would."""
    pdu = {**event.pdu, "content": content, "signatures": {}, **changes}
    pdu["hashes"] = {"sha256": content_hash(pdu)}
    return sign_pdu(pdu, event.version, signer_of("evil"))


@pytest.mark.parametrize("content", LOOSE, ids=str)
@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_numbers_beyond_canonical_json_are_kept_as_they_are_until_version_5(
    version: str, content: dict[str, Any]
) -> None:
    server, peer, room_id = meeting(version)
    rules = ROOM_VERSIONS[version]
    pdu = loosely(peer.room.make(MALLORY, "m.room.message", {"body": "x"}), content)
    event_id = event_id_of(pdu, rules)
    result = server.receive("evil", pdu)[event_id]
    row = server.run(server.rooms.row(event_id))
    if rules.strict_canonical_json:
        assert "content" in result["error"]
        assert row is None
        return
    assert result == {}
    assert (row.standing, row.event.content) == (Standing.ACCEPTED, content)
    server.open()  # what is read from the disk is what was received
    stored = server.run(server.rooms.row(event_id)).event
    assert parse_event(dict(stored.pdu), rules).event_id == event_id
    assert content_hash(stored.pdu) == pdu["hashes"]["sha256"]
    assert_goes_on(server, room_id, event_id)


def assert_goes_on(server: FederatedServer, room_id: Any, event_id: EventID) -> None:
    following = server.send(room_id, ALICE)
    assert following.prev_events == (event_id,)


@pytest.mark.parametrize("version", ["3", "5", "6"])
def test_power_levels_with_fractions_are_cut_at_the_point_until_version_5(version: str) -> None:
    server, peer, room_id = meeting(version)
    levels = {"users": {ALICE: 100, MALLORY: 100}}
    server.send(room_id, ALICE, "m.room.power_levels", state_key="", content=levels)
    power = server.run(server.rooms.state_event(room_id, "m.room.power_levels"))
    peer.room.add(power)
    event = peer.room.make(MALLORY, "m.room.power_levels", {}, "")
    pdu = loosely(event, {"users": {ALICE: 100, MALLORY: 100, "@bob:hs1": 50.57}})
    server.receive("evil", pdu)
    bob = server.run(server.rooms.power_levels(room_id)).level_of("@bob:hs1")
    assert bob == (50 if version != "6" else 0)


@pytest.mark.parametrize(
    ("version", "depth", "kept"), [("5", 2**62, True), ("6", 2**53 - 1, True), ("6", 2**53, False)]
)
def test_a_depth_as_large_as_the_version_allows_does_not_stop_the_room(
    version: str, depth: int, kept: bool
) -> None:
    server, peer, room_id = meeting(version)
    event = peer.room.make(MALLORY, "m.room.message", {"body": "deep"})
    pdu = loosely(event, {"body": "deep"}, depth=depth)
    event_id = event_id_of(pdu, ROOM_VERSIONS[version])
    server.receive("evil", pdu)
    assert (server.run(server.rooms.row(event_id)) is not None) is kept
    following = server.send(room_id, ALICE)
    assert (following.prev_events == (event_id,)) is kept
    assert following.depth <= 2**53 - 1
    assert standing(server, following) is Standing.ACCEPTED
