"""What a Synapse believes of a room, read from its SQLite file: events with their standing, state, tips.

The tables are Synapse's; nothing is written to them.
"""

from __future__ import annotations

import sqlite3

import msgspec

from minihs.events.event import StateKey, trusted_event
from minihs.events.ids import EventID
from minihs.events.versions import supported
from minihs.lab.views import RoomView
from minihs.store.events import EventRow, Standing

_VERSION = "SELECT room_version FROM rooms WHERE room_id = ?"
_EVENTS = """
    SELECT event_id, events.stream_ordering, json, internal_metadata, outlier, rejections.reason
    FROM events JOIN event_json USING (event_id) LEFT JOIN rejections USING (event_id)
    WHERE events.room_id = ? ORDER BY depth, events.stream_ordering
"""
_STATE = "SELECT type, state_key, event_id FROM current_state_events WHERE room_id = ? ORDER BY 1, 2"
_TIPS = "SELECT event_id FROM event_forward_extremities WHERE room_id = ? ORDER BY event_id"


def synapse_view(server: str, connection: sqlite3.Connection, room_id: str) -> RoomView | None:
    """The room as that server has it; None when it does not know it."""
    found = connection.execute(_VERSION, (room_id,)).fetchone()
    if found is None:
        return None
    version = supported(found[0])
    rows = []
    for event_id, position, pdu, internal, outlier, reason in connection.execute(_EVENTS, (room_id,)):
        soft_failed = bool(msgspec.json.decode(internal).get("soft_failed"))
        event = trusted_event(_pdu(pdu), version, EventID(event_id))
        standing = _standing(outlier=bool(outlier), rejected=reason is not None, soft_failed=soft_failed)
        rows.append(EventRow(event=event, position=position, standing=standing, refusal=reason))
    state: dict[StateKey, EventID] = {
        (event_type, state_key): event_id
        for event_type, state_key, event_id in connection.execute(_STATE, (room_id,))
    }
    tips = tuple(event_id for (event_id,) in connection.execute(_TIPS, (room_id,)))
    return RoomView(server, room_id, tuple(rows), state, tips)


def _pdu(stored: str) -> dict[str, object]:
    pdu: dict[str, object] = msgspec.json.decode(stored)
    pdu.pop("event_id", None)
    pdu.pop("unsigned", None)
    return pdu


def _standing(*, outlier: bool, rejected: bool, soft_failed: bool) -> Standing:
    if outlier:
        return Standing.REJECTED_OUTLIER if rejected else Standing.OUTLIER
    if rejected:
        return Standing.REJECTED
    return Standing.SOFT_FAILED if soft_failed else Standing.ACCEPTED
