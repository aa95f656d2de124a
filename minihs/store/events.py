"""Events and the edges between them: what is stored of each, and reads by ID.

Reads by place (time lines, depth) are in `timeline`; state is in `state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec

from minihs.events.event import Event, redact_event, trusted_event
from minihs.events.ids import EventID, RoomID
from minihs.events.relations import relation_of
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.store.cache import LruCache
from minihs.store.reader import Reader, Row
from minihs.store.writer import Batch


class Standing(IntEnum):
    """What the checks on receipt made of an event.

    Source: Server-Server API, "Checks performed on receipt of a PDU".
    """

    ACCEPTED = 0
    SOFT_FAILED = 1
    REJECTED = 2
    OUTLIER = 3
    """Authorised by its own auth events, but the state around it is not known."""
    REJECTED_OUTLIER = 4

    @property
    def is_outlier(self) -> bool:
        return self >= Standing.OUTLIER

    @property
    def is_rejected(self) -> bool:
        return self in (Standing.REJECTED, Standing.REJECTED_OUTLIER)


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event as others may see it (a redacted one in its redacted form), and what we know of it.

    `position` is the place in the event stream: positive as it came, negative for history and outliers.
    """

    event: Event
    position: int
    standing: Standing = Standing.ACCEPTED
    refusal: str | None = None
    before_group: int | None = None
    after_group: int | None = None
    redacted_by: EventID | None = None
    device_id: str | None = None
    txn_id: str | None = None
    delay_id: str | None = None


class StoredPDU(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as other servers get it, its JSON unread but for what a walk along `auth_events` needs: large
    answers are made of these, at a tenth of the time and memory of parsed events."""

    event_id: EventID
    room_id: RoomID
    type: str
    auth_events: tuple[EventID, ...]
    version: RoomVersion
    pdu: msgspec.Raw

    @classmethod
    def of(cls, event: Event) -> StoredPDU:
        """The same for an event that has been read."""
        return cls(
            event_id=event.event_id,
            room_id=event.room_id,
            type=event.type,
            auth_events=event.auth_events,
            version=event.version,
            pdu=msgspec.Raw(event.to_json_bytes()),
        )


class _Citations(msgspec.Struct):
    auth_events: tuple[EventID, ...]


_read_citations = msgspec.json.Decoder(_Citations).decode

COLUMNS = (
    "e.event_id, e.position, e.standing, e.refusal, e.before_group, e.after_group, e.redacted_by,"
    " e.device_id, e.txn_id, e.delay_id, r.version, e.pdu"
)
"""What `EventStore.from_columns` takes, from `events e JOIN rooms r USING (room_id)`."""

_SELECT = f"SELECT {COLUMNS} FROM events e JOIN rooms r USING (room_id)"
_INSERT = """
    INSERT INTO events (position, event_id, room_id, type, state_key, sender, depth, origin_server_ts,
                        standing, refusal, before_group, after_group, device_id, txn_id, delay_id, pdu)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# What was an outlier takes its place in the room; anything else that is already stored stays as it is.
_INSERT_OR_PLACE = (
    _INSERT
    + """
    ON CONFLICT (event_id) DO UPDATE SET position = excluded.position, standing = excluded.standing,
        refusal = excluded.refusal, before_group = excluded.before_group, after_group = excluded.after_group,
        pdu = excluded.pdu
    WHERE events.standing >= 3 AND excluded.standing < 3
"""
)


class EventStore:
    """Reads of single events, cached, and the statements that store them."""

    def __init__(self, reader: Reader, *, cached_events: int = 5_000) -> None:
        self._reader = reader
        self._cache: LruCache[EventID, EventRow] = LruCache(cached_events)

    async def positions(self) -> tuple[int, int]:
        """The lowest (at most 0) and the highest (at least 0) position in use.

        Memberships of rooms elsewhere (invites, knocks) have positions, too, and no event.
        """
        lowest, highest = await self._reader.one(
            "SELECT MIN(position), max(coalesce(MAX(position), 0),"
            " coalesce((SELECT MAX(position) FROM memberships), 0),"
            " coalesce((SELECT number FROM number_floors WHERE counter = 'events'), 0)) FROM events"
        )
        return min(lowest or 0, 0), max(highest or 0, 0)

    async def maybe_row(self, event_id: EventID) -> EventRow | None:
        """The event with all that is stored of it."""
        row = self._cache.get(event_id)
        if row is None:
            columns = await self._reader.maybe(_SELECT + " WHERE e.event_id = ?", (event_id,))
            if columns is None:
                return None
            row = self.from_columns(columns)
        return row

    async def maybe_event(self, event_id: EventID) -> Event | None:
        """The event, whatever its standing."""
        row = await self.maybe_row(event_id)
        return None if row is None else row.event

    async def rows(self, event_ids: Iterable[EventID]) -> dict[EventID, EventRow]:
        """Those of `event_ids` that are stored, in the order in which they were asked for."""
        found: dict[EventID, EventRow] = {}
        absent: list[EventID] = []
        wanted = list(event_ids)
        for event_id in wanted:
            row = self._cache.get(event_id)
            if row is None:
                absent.append(event_id)
            else:
                found[event_id] = row
        if not absent:
            return found
        if len(absent) == 1:
            row = await self.maybe_row(absent[0])
            if row is not None:
                found[absent[0]] = row
        else:
            for columns in await self._reader.all(
                _SELECT + " WHERE e.event_id IN (SELECT value FROM json_each(?)) ORDER BY e.position",
                (msgspec.json.encode(absent).decode(),),
            ):
                row = self.from_columns(columns)
                found[row.event.event_id] = row
        return {event_id: found[event_id] for event_id in wanted if event_id in found}

    async def events(self, event_ids: Iterable[EventID]) -> dict[EventID, Event]:
        """Those of `event_ids` that are stored, in the order in which they were asked for."""
        return {event_id: row.event for event_id, row in (await self.rows(event_ids)).items()}

    async def pdus(self, event_ids: Sequence[EventID]) -> dict[EventID, StoredPDU]:
        """Those of `event_ids` that are stored, in no particular order; nothing goes through the cache."""
        found: dict[EventID, StoredPDU] = {}
        for event_id, room_id, event_type, redacted_by, version_id, pdu in await self._reader.all(
            "SELECT e.event_id, e.room_id, e.type, e.redacted_by, r.version, e.pdu"
            " FROM events e JOIN rooms r USING (room_id)"
            " WHERE e.event_id IN (SELECT value FROM json_each(?)) ORDER BY e.position",
            (msgspec.json.encode(event_ids).decode(),),
        ):
            version = ROOM_VERSIONS[version_id]
            if redacted_by is not None:
                event = trusted_event(msgspec.json.decode(pdu), version, event_id)
                found[event_id] = StoredPDU.of(redact_event(event))
                continue
            found[event_id] = StoredPDU(
                event_id=event_id,
                room_id=room_id,
                type=event_type,
                auth_events=_read_citations(pdu).auth_events,
                version=version,
                pdu=msgspec.Raw(pdu),
            )
        return found

    async def missing(self, event_ids: Sequence[EventID], *, or_outlier: bool = False) -> list[EventID]:
        """Those of `event_ids` that are not stored or, with `or_outlier`, only as outliers; order kept."""
        known = await self.rows(event_ids)
        return [
            event_id
            for event_id in event_ids
            if event_id not in known or (or_outlier and known[event_id].standing.is_outlier)
        ]

    async def all_in_room(self, room_id: RoomID) -> list[EventRow]:
        """Every event of a room, whatever its standing, by depth."""
        found = await self._reader.all(
            _SELECT + " WHERE e.room_id = ? ORDER BY e.depth, e.event_id", (room_id,)
        )
        return [self.from_columns(columns) for columns in found]

    async def lowest_depth(self, room_id: RoomID) -> int:
        """The lowest depth of an accepted event of the room; 0 when there is none."""
        (depth,) = await self._reader.one(
            "SELECT MIN(depth) FROM events WHERE room_id = ? AND standing = 0", (room_id,)
        )
        return depth or 0

    async def all_children(self, event_id: EventID) -> list[EventID]:
        """The events that name `event_id` as a previous event."""
        found = await self._reader.all(
            "SELECT event_id FROM event_edges WHERE prev_event_id = ? ORDER BY event_id", (event_id,)
        )
        return [child for (child,) in found]

    async def all_redactions_of(self, event_ids: Iterable[EventID]) -> list[EventRow]:
        """Accepted redactions that name one of these events, oldest first: for targets that come late."""
        found = await self._reader.all(
            _SELECT + " JOIN redactions d USING (event_id)"
            " WHERE d.redacts IN (SELECT value FROM json_each(?)) AND e.standing = 0 ORDER BY e.position",
            (msgspec.json.encode(list(event_ids)).decode(),),
        )
        return [self.from_columns(columns) for columns in found]

    def from_columns(self, columns: Row) -> EventRow:
        """A row from COLUMNS, through the cache."""
        event_id: EventID = columns[0]
        row = self._cache.get(event_id)
        if row is None:
            (_, position, standing, refusal, before, after, redacted_by, device, txn, delay, version, pdu) = (
                columns
            )
            event = trusted_event(msgspec.json.decode(pdu), ROOM_VERSIONS[version], event_id)
            row = EventRow(
                event=event if redacted_by is None else redact_event(event),
                position=position,
                standing=Standing(standing),
                refusal=refusal,
                before_group=before,
                after_group=after,
                redacted_by=redacted_by,
                device_id=device,
                txn_id=txn,
                delay_id=delay,
            )
            self._cache.put(event_id, row)
        return row

    def remember(self, row: EventRow) -> None:
        """Put a row that has just become durable into the cache."""
        self._cache.put(row.event.event_id, row)

    def forget(self, event_id: EventID) -> None:
        """Drop a row from the cache: what is stored of it has changed."""
        self._cache.discard(event_id)

    def add(self, batch: Batch, row: EventRow, *, may_be_known: bool = False) -> None:
        """Store an event; with `may_be_known`, one that may be there already (perhaps as an outlier)."""
        event = row.event
        batch.add(
            _INSERT_OR_PLACE if may_be_known else _INSERT,
            (
                row.position,
                event.event_id,
                event.room_id,
                event.type,
                event.state_key,
                event.sender,
                event.depth,
                event.origin_server_ts,
                int(row.standing),
                row.refusal,
                row.before_group,
                row.after_group,
                row.device_id,
                row.txn_id,
                row.delay_id,
                event.to_json_bytes(),
            ),
        )
        if not row.standing.is_outlier:
            for prev_event_id in event.prev_events:
                batch.add(
                    "INSERT OR IGNORE INTO event_edges (prev_event_id, event_id) VALUES (?, ?)",
                    (prev_event_id, event.event_id),
                )
            relation = relation_of(event)
            if relation is not None:
                batch.add(
                    "INSERT OR IGNORE INTO relations (relates_to, event_id, rel_type) VALUES (?, ?, ?)",
                    (relation.relates_to, event.event_id, relation.rel_type),
                )
            if event.type == "m.room.redaction" and event.redacts is not None:
                batch.add(
                    "INSERT OR IGNORE INTO redactions (redacts, event_id) VALUES (?, ?)",
                    (event.redacts, event.event_id),
                )

    def release(self, batch: Batch, row: EventRow) -> None:
        """Give an event that was withheld (stored as soft-failed) its place among the accepted ones."""
        batch.add(
            "UPDATE events SET position = ?, standing = 0, refusal = NULL"
            " WHERE event_id = ? AND standing = 1",
            (row.position, row.event.event_id),
        )

    def redact(self, batch: Batch, event_id: EventID, redaction_id: EventID) -> None:
        """Serve `event_id` in redacted form from now on; the first redaction that applies is kept."""
        batch.add(
            "UPDATE events SET redacted_by = ? WHERE event_id = ? AND redacted_by IS NULL",
            (redaction_id, event_id),
        )
