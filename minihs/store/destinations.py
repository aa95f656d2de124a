"""What other servers must still be sent: cursors, back-off, and pages of pending events.

Every local event that goes out has one row in `outbound_events`; a destination has a cursor over them. What
to do with a page, and when, is for `federation.sender` to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import ServerName
from minihs.store.reader import Reader, Row
from minihs.store.writer import Batch

SCAN_ROWS = 2_000
"""How many outbound rows one page looks at before it gives the reactor back, whoever they are for."""


class DestinationRow(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor and the back-off of one server; times are wall clock milliseconds."""

    server_name: ServerName
    sent_position: int = 0
    sending_position: int | None = None
    failing_since_ms: int | None = None
    retry_at_ms: int | None = None
    retry_interval_ms: int | None = None


class PendingEvent(msgspec.Struct, frozen=True):
    """One event that a destination has not got yet; `pdu` is its JSON."""

    position: int
    pdu: bytes


class PendingPage(msgspec.Struct, frozen=True):
    """Some of a destination's pending events, in order.

    `upto` is the position up to which nothing else is pending; None when nothing is pending at all.
    """

    events: tuple[PendingEvent, ...]
    upto: int | None


class DeliveredRows(msgspec.Struct, frozen=True):
    """Rows of the outbound log that every server of their set has: those of the set up to a position."""

    destination_set: int
    upto: int


_COLUMNS = "server_name, sent_position, sending_position, failing_since_ms, retry_at_ms, retry_interval_ms"


def _row(values: Row) -> DestinationRow:
    name, sent, sending, failing_since, retry_at, interval = values
    return DestinationRow(
        server_name=name,
        sent_position=sent,
        sending_position=sending,
        failing_since_ms=failing_since,
        retry_at_ms=retry_at,
        retry_interval_ms=interval,
    )


class DestinationStore:
    """Reads and writes of `destinations`, and reads of the outbound log."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_destination(self, server_name: ServerName) -> DestinationRow | None:
        """The row of this server; None when nothing was ever sent to it."""
        values = await self._reader.maybe(
            f"SELECT {_COLUMNS} FROM destinations WHERE server_name = ?",
            (server_name,),
        )
        return None if values is None else _row(values)

    async def all_failing(self) -> Sequence[DestinationRow]:
        """The servers with a back-off, by name."""
        rows = await self._reader.all(
            f"SELECT {_COLUMNS} FROM destinations WHERE retry_at_ms IS NOT NULL ORDER BY server_name"
        )
        return [_row(values) for values in rows]

    async def all_with_pending(self) -> Sequence[ServerName]:
        """The servers that have something to get, by name."""
        rows = await self._reader.all(
            """
            SELECT DISTINCT m.server_name
            FROM destination_set_members m LEFT JOIN destinations d USING (server_name)
            WHERE EXISTS (
                SELECT 1 FROM outbound_events o
                WHERE o.destination_set = m.destination_set AND o.position > COALESCE(d.sent_position, 0)
            )
            ORDER BY m.server_name
            """
        )
        return [server_name for (server_name,) in rows]

    async def page_of_pending(
        self, server_name: ServerName, after: int, upto: int | None, limit: int
    ) -> PendingPage:
        """At most `limit` events for this server with positions in (after, upto].

        Costs one index seek for each set of destinations that the server is in, and then looks at no more
        than `SCAN_ROWS` rows. So a server with few rooms skips everything between its events, and a long
        backlog is never read whole.
        """
        (first,) = await self._reader.one(
            """
            SELECT MIN((
                SELECT MIN(o.position) FROM outbound_events o
                WHERE o.destination_set = m.destination_set AND o.position > ?
            ))
            FROM destination_set_members m WHERE m.server_name = ?
            """,
            (after, server_name),
        )
        if first is None or (upto is not None and first > upto):
            return PendingPage((), None)
        # CROSS JOIN fixes SQLite's plan: walk the log by position, look each set up, read events at the end.
        rows = await self._reader.all(
            """
            SELECT p.position, e.pdu
            FROM (
                SELECT o.position FROM (
                    SELECT position, destination_set FROM outbound_events
                    WHERE position >= ? AND position <= ? ORDER BY position LIMIT ?
                ) o
                CROSS JOIN destination_set_members m
                    ON m.server_name = ? AND m.destination_set = o.destination_set
                ORDER BY o.position LIMIT ?
            ) p
            CROSS JOIN events e ON e.position = p.position
            ORDER BY p.position
            """,
            (first, upto if upto is not None else (1 << 62), SCAN_ROWS, server_name, limit),
        )
        events = tuple(PendingEvent(position, pdu) for position, pdu in rows)
        return PendingPage(events, events[-1].position if events else first)

    async def all_delivered(self, after_set: int, limit: int) -> Sequence[DeliveredRows]:
        """What every destination has by the stored cursors, of at most `limit` sets after `after_set`."""
        rows = await self._reader.all(
            """
            SELECT destination_set, upto FROM (
                SELECT s.destination_set, (
                    SELECT MIN(COALESCE(d.sent_position, 0))
                    FROM json_each(s.servers) named LEFT JOIN destinations d ON d.server_name = named.value
                ) AS upto, (
                    SELECT MIN(o.position) FROM outbound_events o WHERE o.destination_set = s.destination_set
                ) AS first
                FROM destination_sets s WHERE s.destination_set > ?
            )
            WHERE first <= upto ORDER BY destination_set LIMIT ?
            """,
            (after_set, limit),
        )
        return [DeliveredRows(destination_set, upto) for destination_set, upto in rows]

    def drop_delivered(self, batch: Batch, rows: DeliveredRows, limit: int) -> None:
        """Take at most `limit` of these rows out of the log, the oldest first."""
        batch.add(
            """
            DELETE FROM outbound_events WHERE position IN (
                SELECT position FROM outbound_events
                WHERE destination_set = ? AND position <= ? ORDER BY position LIMIT ?
            )
            """,
            (rows.destination_set, rows.upto, limit),
        )

    def put(self, batch: Batch, row: DestinationRow) -> None:
        """Store the whole row."""
        batch.add(
            f"INSERT OR REPLACE INTO destinations ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (
                row.server_name,
                row.sent_position,
                row.sending_position,
                row.failing_since_ms,
                row.retry_at_ms,
                row.retry_interval_ms,
            ),
        )
