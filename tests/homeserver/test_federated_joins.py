"""Joining rooms through other servers: two real room services back to back."""

from __future__ import annotations

import pytest

from tests.support.federated import FederatedServer, Wire

ALICE, BOB, CAROL = "@alice:hs1", "@bob:hs2", "@carol:hs2"


def two_servers() -> tuple[FederatedServer, FederatedServer]:
    wire = Wire()
    return FederatedServer("hs1", wire), FederatedServer("hs2", wire)


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_a_user_of_another_server_joins_and_both_servers_agree_on_the_room(version: str) -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE, version)
    hs2.join(BOB, room_id, "hs1")
    assert hs2.state(room_id) == hs1.state(room_id)
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "join"
    assert hs2.run(hs2.rooms.extremities(room_id)) == hs1.run(hs1.rooms.extremities(room_id))
    message = hs2.send(room_id, BOB)
    assert hs1.receive("hs2", message) == {message.event_id: {}}
    assert hs1.run(hs1.rooms.extremities(room_id)) == (message.event_id,)
