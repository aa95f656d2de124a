"""Rooms in which delayed events of one server meet users of the other, and what those may see of them."""

from __future__ import annotations

from typing import Any

from tests.support.peers import Peer
from tests.support.processes import until

NOTE = "org.example.note"
FAR_MS = 3_600_000


def message(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


def shared_room(host: Peer, guest: Peer, version: str = "12") -> str:
    """A room of `host`'s in which both may set power levels and notes."""
    room_id = host.create(version, power_level_content_override={"events": {NOTE: 50}})
    guest.join(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "join")
    host.set_power(room_id, guest.user_id, 90)
    until(lambda: guest.power_of(room_id, guest.user_id) == 90, "the guest's power")
    return room_id


def assert_ordinary(reader: Peer, room_id: str, event_id: str, body: str) -> dict[str, Any]:
    """The event came down `reader`'s sync and says nothing of having been delayed."""
    event = reader.sees(event_id)
    assert event["content"] == message(body)
    assert "delay_id" not in event.get("unsigned", {})
    assert "org.matrix.msc4140.delay_id" not in event.get("unsigned", {})
    return event
