"""Rooms of every version that both servers know, made on either: a short life of each."""

from __future__ import annotations

import pytest

from tests.interop.conftest import Pair, either_side
from tests.support.peers import refusal

pytestmark = [pytest.mark.process, pytest.mark.full]


@pytest.mark.parametrize("version", [str(number) for number in range(3, 13)])
@either_side
def test_a_room_of_every_version_is_lived_in_from_both_sides(pair: Pair, side: str, version: str) -> None:
    host, guest, room_id = pair.room(side, version)
    witness = pair.neighbour(guest, "witness")
    pair.joins(witness, room_id, host)
    assert host.state(room_id)["m.room.create", ""][1]["room_version"] == version
    for sender, reader in ((host, guest), (guest, host)):
        event_id = sender.send(room_id, f"from {sender.user_id}")
        assert reader.sees(event_id)["content"]["body"] == f"from {sender.user_id}"

    guest.sees(host.put_state(room_id, "m.room.topic", {"topic": "the host's"}))
    assert refusal(lambda: guest.put_state(room_id, "m.room.topic", {"topic": "no"})) == "M_FORBIDDEN"
    guest.sees(host.set_power(room_id, guest.user_id, 50))
    host.sees(guest.put_state(room_id, "m.room.topic", {"topic": "the guest's"}))

    host.sees(spoken := guest.send(room_id, "said too much"))
    host.sees(guest.redact(room_id, spoken))
    assert [e["content"] for e in host.messages(room_id) if e["event_id"] == spoken] == [{}]

    host.act(room_id, "ban", guest.user_id)
    witness.sees_membership(guest, room_id, "ban")
    host.act(room_id, "unban", guest.user_id)
    witness.sees_membership(guest, room_id, "leave")
    pair.joins(guest, room_id, host)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
