"""Rows about transactions from other servers: replies already given, PDUs taken but not yet judged.

Source: Server-Server API, "Transactions".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from minihs.events.ids import EventID, RoomID, ServerName
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class WaitingPDU(NamedTuple):
    """A PDU that was acknowledged and still has to be judged."""

    origin: ServerName
    room_id: RoomID
    event_id: EventID
    pdu: dict[str, Any]


class InboundStore:
    """Replies to transactions, and the PDUs that wait."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_reply(self, origin: ServerName, txn_id: str) -> dict[str, Any] | None:
        """The reply given to this transaction; None when it is new."""
        row = await self._reader.maybe(
            "SELECT reply FROM inbound_transactions WHERE origin = ? AND txn_id = ?", (origin, txn_id)
        )
        return None if row is None else msgspec.json.decode(row[0], type=dict[str, Any])

    async def all_waiting(self) -> list[WaitingPDU]:
        """Every PDU that was taken and not judged before the server stopped, in order of arrival."""
        rows = await self._reader.all(
            "SELECT origin, room_id, event_id, pdu FROM inbound_pdus ORDER BY position"
        )
        return [
            WaitingPDU(origin, room_id, event_id, msgspec.json.decode(pdu, type=dict[str, Any]))
            for origin, room_id, event_id, pdu in rows
        ]

    def add_reply(
        self, batch: Batch, origin: ServerName, txn_id: str, reply: dict[str, Any], received_ms: int
    ) -> None:
        """Record the reply, so that a repeat of the transaction gets the same one."""
        batch.add(
            "INSERT OR REPLACE INTO inbound_transactions VALUES (?, ?, ?, ?)",
            (origin, txn_id, msgspec.json.encode(reply), received_ms),
        )

    def forget_replies(self, batch: Batch, before_ms: int) -> None:
        """Delete replies to transactions received before `before_ms`."""
        batch.add("DELETE FROM inbound_transactions WHERE received_ms < ?", (before_ms,))

    def add_waiting(self, batch: Batch, waiting: WaitingPDU, received_ms: int) -> None:
        """Keep a PDU until it is judged, however often the server starts in between."""
        batch.add(
            "INSERT OR IGNORE INTO inbound_pdus (origin, room_id, event_id, pdu, received_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                waiting.origin,
                waiting.room_id,
                waiting.event_id,
                msgspec.json.encode(waiting.pdu),
                received_ms,
            ),
        )

    def remove_waiting(self, batch: Batch, room_id: RoomID, event_id: EventID) -> None:
        """The PDU is judged (or can never be)."""
        batch.add("DELETE FROM inbound_pdus WHERE room_id = ? AND event_id = ?", (room_id, event_id))
