"""Read receipts: one row for each user, room, kind and thread."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from minihs.events.ids import EventID, RoomID, UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch

UNTHREADED = ""


class ReceiptRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user has read up to an event; `event_position` is None while the event is not here."""

    room_id: RoomID
    receipt_type: str
    user_id: UserID
    thread_id: str
    event_id: EventID
    event_position: int | None
    ts: int


_COLUMNS = "room_id, receipt_type, user_id, thread_id, event_id, event_position, ts"


class ReceiptStore:
    """Reads and writes `receipts`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def current(self) -> int:
        """The highest position in use."""
        (position,) = await self._reader.one(
            "SELECT max(coalesce(MAX(position), 0),"
            " coalesce((SELECT number FROM number_floors WHERE counter = 'receipts'), 0)) FROM receipts"
        )
        return int(position)

    async def maybe_receipt(
        self, room_id: RoomID, receipt_type: str, user_id: UserID, thread_id: str
    ) -> ReceiptRow | None:
        """How far the user has read."""
        row = await self._reader.maybe(
            f"SELECT {_COLUMNS} FROM receipts WHERE room_id = ? AND receipt_type = ? AND user_id = ?"
            " AND thread_id = ?",
            (room_id, receipt_type, user_id, thread_id),
        )
        return None if row is None else _row(row)

    async def all_changed(
        self, room_ids: Iterable[RoomID], *, after: int, upto: int, private_to: UserID
    ) -> list[ReceiptRow]:
        """The receipts of the rooms that changed between two positions, those private to others left out."""
        rows = await self._reader.all(
            f"SELECT {_COLUMNS} FROM json_each(?) AS wanted JOIN receipts ON room_id = wanted.value"
            " WHERE position > ? AND position <= ? AND (receipt_type != 'm.read.private' OR user_id = ?)"
            " ORDER BY room_id, position, receipt_type, user_id, thread_id",
            (_json(sorted(room_ids)), after, upto, private_to),
        )
        return [_row(row) for row in rows]

    def put(self, batch: Batch, receipts: Iterable[ReceiptRow], position: int) -> None:
        """Move receipts forward; a row that stands at the same event or a later one stays as it is.

        Where one of the two events is not here, the later `ts` counts.
        """
        rows = [
            (
                receipt.room_id,
                receipt.receipt_type,
                receipt.user_id,
                receipt.thread_id,
                receipt.event_id,
                receipt.event_position,
                receipt.ts,
            )
            for receipt in receipts
        ]
        batch.add(
            "INSERT INTO receipts (room_id, receipt_type, user_id, thread_id, event_id, event_position, ts,"
            " position) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,"
            " value ->> 6, ? FROM json_each(?) WHERE true"
            " ON CONFLICT (room_id, receipt_type, user_id, thread_id) DO UPDATE SET"
            " event_id = excluded.event_id, event_position = excluded.event_position, ts = excluded.ts,"
            " position = excluded.position WHERE CASE"
            " WHEN excluded.event_position IS NULL OR receipts.event_position IS NULL"
            " THEN excluded.ts > receipts.ts AND excluded.event_id != receipts.event_id"
            " ELSE excluded.event_position > receipts.event_position END",
            (position, _json(rows)),
        )


def _row(row: tuple[object, ...]) -> ReceiptRow:
    return msgspec.convert(dict(zip(_FIELDS, row, strict=True)), ReceiptRow)


_FIELDS = _COLUMNS.split(", ")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
