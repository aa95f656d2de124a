"""Taking rooms out of the database: what keeps one, what begins it, and slices of what is there to remove.

Every method that writes adds a bounded number of rows to a batch. Which slice is next follows from what is
left, so that nothing need be remembered between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.store.reader import Reader, Row
from minihs.store.writer import Batch

SLICE = 200
"""Events of one slice; each has some rows beside it."""
ROWS = 1_000
"""Rows of another table in one slice."""

Needed = Literal["people", "future", "inbound"]
"""Why a room cannot go: users of this server are in it or have not forgotten it, a future waits to be sent
into it, events of it wait to be judged."""

_OURS = "substr(user_id, instr(user_id, ':') + 1) = ?"


class PurgeRow(msgspec.Struct, frozen=True):
    """A room that is to go, or is going when `upto_position` is set."""

    room_id: RoomID
    due_ms: int
    upto_position: int | None
    state_group: int | None


class PurgedEvent(msgspec.Struct, frozen=True):
    """What must be known of an event to remove it."""

    event_id: EventID
    position: int
    groups: tuple[int, ...]
    prev_events: tuple[str, ...]
    redacts: tuple[str, ...]
    relates_to: tuple[str, ...]


class _PDU(msgspec.Struct):
    content: Any = None
    prev_events: list[Any] = []
    redacts: Any = None


class PurgeStore:
    """Reads and writes of `purges`, and of everything that belongs to a room."""

    def __init__(self, reader: Reader, server_name: ServerName) -> None:
        self._reader = reader
        self._server_name = server_name

    # Which rooms

    def note(self, batch: Batch, room_id: RoomID, due_ms: int) -> None:
        """The room may go from then on, if nothing keeps it; a purge that has begun goes on."""
        batch.add(
            "INSERT INTO purges (room_id, due_ms) VALUES (?, ?) ON CONFLICT (room_id) DO UPDATE"
            " SET due_ms = excluded.due_ms WHERE upto_position IS NULL",
            (room_id, due_ms),
        )

    def drop(self, batch: Batch, room_id: RoomID) -> None:
        """The room is not to go, or is gone."""
        batch.add("DELETE FROM purges WHERE room_id = ?", (room_id,))

    async def all_begun(self) -> list[PurgeRow]:
        """The rooms that are going, by ID."""
        rows = await self._reader.all(
            "SELECT room_id, due_ms, upto_position, state_group FROM purges"
            " WHERE upto_position IS NOT NULL ORDER BY room_id"
        )
        return [PurgeRow(*row) for row in rows]

    async def maybe_next(self) -> PurgeRow | None:
        """The room that is to go first."""
        row = await self._reader.maybe(
            "SELECT room_id, due_ms, upto_position, state_group FROM purges"
            " WHERE upto_position IS NULL ORDER BY due_ms, room_id LIMIT 1"
        )
        return None if row is None else PurgeRow(*row)

    async def is_stored(self, room_id: RoomID) -> bool:
        """Whether there is anything of the room: itself, a membership, a purge under way."""
        (stored,) = await self._reader.one(
            "SELECT EXISTS (SELECT 1 FROM rooms WHERE room_id = ?1)"
            " OR EXISTS (SELECT 1 FROM memberships WHERE room_id = ?1)"
            " OR EXISTS (SELECT 1 FROM purges WHERE room_id = ?1)",
            (room_id,),
        )
        return bool(stored)

    async def maybe_needed(self, room_id: RoomID) -> Needed | None:
        """What keeps the room; None when nothing does."""
        (people, future, inbound) = await self._reader.one(
            f"""
            SELECT EXISTS (
                SELECT 1 FROM memberships WHERE room_id = ?1 AND {_OURS.replace("?", "?2")}
                AND (forgotten = 0 OR membership IN ('join', 'invite', 'knock'))
            ), EXISTS (
                SELECT 1 FROM memberships m JOIN futures f ON f.owner = m.user_id
                WHERE m.room_id = ?1 AND f.room_id = ?1 AND f.outcome IS NULL
            ), EXISTS (SELECT 1 FROM inbound_pdus WHERE room_id = ?1)
            """,
            (room_id, self._server_name),
        )
        return "people" if people else "future" if future else "inbound" if inbound else None

    async def all_local_users(self, room_id: RoomID) -> list[UserID]:
        """Our users that are or were something to the room, by ID."""
        rows = await self._reader.all(
            f"SELECT user_id FROM memberships WHERE room_id = ? AND {_OURS} ORDER BY user_id",
            (room_id, self._server_name),
        )
        return [user_id for (user_id,) in rows]

    def forget_for_all(self, batch: Batch, room_id: RoomID) -> None:
        """All our users who have left the room have forgotten it."""
        batch.add(
            f"UPDATE memberships SET forgotten = 1 WHERE room_id = ? AND {_OURS}"
            " AND membership IN ('leave', 'ban')",
            (room_id, self._server_name),
        )

    # How they go

    def begin(self, batch: Batch, room_id: RoomID, upto_position: int, users: Sequence[UserID]) -> None:
        """From this batch on the room is unknown; `users` are ours, who lose what was theirs about it."""
        batch.add(
            "UPDATE purges SET upto_position = ?, state_group ="
            " (SELECT state_group FROM rooms WHERE rooms.room_id = purges.room_id) WHERE room_id = ?",
            (upto_position, room_id),
        )
        # A restart would otherwise give the numbers of what goes to something else.
        for counter, highest in (
            ("events", str(int(upto_position))),
            ("receipts", "SELECT COALESCE(MAX(position), 0) FROM receipts"),
            ("account_data", "SELECT COALESCE(MAX(position), 0) FROM account_data"),
            ("state_groups", "SELECT COALESCE(MAX(state_group), 0) FROM state_groups"),
        ):
            batch.add(
                f"INSERT INTO number_floors (counter, number) VALUES (?, ({highest}))"
                " ON CONFLICT (counter) DO UPDATE SET number = max(number, excluded.number)",
                (counter,),
            )
        for table in ("rooms", "forward_extremities", "aliases"):
            batch.add(f"DELETE FROM {table} WHERE room_id = ?", (room_id,))
        ours = msgspec.json.encode(users).decode()
        batch.add(
            "DELETE FROM account_data WHERE room_id = ? AND user_id IN (SELECT value FROM json_each(?))",
            (room_id, ours),
        )
        batch.add(
            "DELETE FROM memberships WHERE room_id = ? AND position <= ?"
            " AND user_id IN (SELECT value FROM json_each(?))",
            (room_id, upto_position, ours),
        )

    async def has_rows_beside(self, row: PurgeRow) -> bool:
        """Whether memberships, receipts or changes of state are left."""
        (left,) = await self._reader.one(
            "SELECT EXISTS (SELECT 1 FROM memberships WHERE room_id = ?1 AND position <= ?2)"
            " OR EXISTS (SELECT 1 FROM receipts WHERE room_id = ?1)"
            " OR EXISTS (SELECT 1 FROM state_changes WHERE room_id = ?1)",
            (row.room_id, row.upto_position),
        )
        return bool(left)

    def remove_rows_beside(self, batch: Batch, row: PurgeRow) -> None:
        """Remove a slice of them."""
        batch.add(
            "DELETE FROM memberships WHERE room_id = ?1 AND position <= ?2 AND user_id IN"
            " (SELECT user_id FROM memberships WHERE room_id = ?1 AND position <= ?2 LIMIT ?3)",
            (row.room_id, row.upto_position, ROWS),
        )
        batch.add(
            "DELETE FROM receipts WHERE (room_id, receipt_type, user_id, thread_id) IN (SELECT room_id,"
            " receipt_type, user_id, thread_id FROM receipts WHERE room_id = ? LIMIT ?)",
            (row.room_id, ROWS),
        )
        batch.add(
            "DELETE FROM state_changes WHERE (room_id, position, type, state_key) IN (SELECT room_id,"
            " position, type, state_key FROM state_changes WHERE room_id = ? LIMIT ?)",
            (row.room_id, ROWS),
        )

    async def some_events(self, room_id: RoomID) -> list[PurgedEvent]:
        """A slice of the room's events; empty when none are left."""
        rows: list[Row] = []
        for standing in ("= 0", "> 0"):
            rows += await self._reader.all(
                "SELECT event_id, position, before_group, after_group, pdu FROM events"
                f" WHERE room_id = ? AND standing {standing} ORDER BY position LIMIT ?",
                (room_id, SLICE - len(rows)),
            )
        return [_purged(*row) for row in rows]

    async def some_groups(self, groups: Sequence[int]) -> list[tuple[int, int]]:
        """The state groups that these are built on, themselves included, the oldest first, and the number of
        entries of each: as many as a slice takes."""
        rows = await self._reader.all(
            """
            WITH RECURSIVE chain (state_group, prev_group) AS (
                SELECT state_group, prev_group FROM state_groups
                WHERE state_group IN (SELECT value FROM json_each(?))
                UNION
                SELECT g.state_group, g.prev_group FROM chain JOIN state_groups g
                ON g.state_group = chain.prev_group
            )
            SELECT state_group, (
                SELECT COUNT(*) FROM state_group_entries e WHERE e.state_group = oldest.state_group
            ) FROM (SELECT state_group FROM chain ORDER BY state_group LIMIT ?) oldest ORDER BY state_group
            """,
            (msgspec.json.encode(groups).decode(), SLICE),
        )
        found: list[tuple[int, int]] = []
        entries = 0
        for group, number in rows:
            found.append((group, number))
            entries += number
            if entries >= ROWS:
                break
        return found

    def remove_groups(self, batch: Batch, groups: Sequence[tuple[int, int]]) -> None:
        """Remove these groups; of the last one only entries, when it has too many for one slice."""
        for group, entries in groups:
            if entries > ROWS:
                batch.add(
                    "DELETE FROM state_group_entries WHERE (state_group, type, state_key) IN (SELECT"
                    " state_group, type, state_key FROM state_group_entries WHERE state_group = ? LIMIT ?)",
                    (group, ROWS),
                )
                return
        numbers = msgspec.json.encode([group for group, _ in groups]).decode()
        for table in ("state_group_entries", "state_groups"):
            batch.add(
                f"DELETE FROM {table} WHERE state_group IN (SELECT value FROM json_each(?))", (numbers,)
            )

    def remove_events(self, batch: Batch, events: Sequence[PurgedEvent]) -> None:
        """Remove events, with their edges, what they redact, and their place in the outbound log."""
        edges = [(prev, event.event_id) for event in events for prev in event.prev_events]
        redactions = [(target, event.event_id) for event in events for target in event.redacts]
        relations = [(target, event.event_id) for event in events for target in event.relates_to]
        for table, column, pairs in (
            ("event_edges", "prev_event_id", edges),
            ("redactions", "redacts", redactions),
            ("relations", "relates_to", relations),
        ):
            if pairs:
                batch.add(
                    f"DELETE FROM {table} WHERE ({column}, event_id) IN"
                    " (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
                    (msgspec.json.encode(pairs).decode(),),
                )
        positions = msgspec.json.encode([event.position for event in events]).decode()
        for table in ("outbound_events", "events"):
            batch.add(f"DELETE FROM {table} WHERE position IN (SELECT value FROM json_each(?))", (positions,))

    def finish(self, batch: Batch, room_id: RoomID) -> None:
        """The room is gone, and forgotten unless somebody was invited to it meanwhile."""
        batch.add(
            "DELETE FROM distant_rooms WHERE room_id = ?1"
            " AND NOT EXISTS (SELECT 1 FROM memberships WHERE room_id = ?1)",
            (room_id,),
        )
        self.drop(batch, room_id)


def _purged(
    event_id: EventID, position: int, before: int | None, after: int | None, pdu: bytes
) -> PurgedEvent:
    parsed = msgspec.json.decode(pdu, type=_PDU)
    content = parsed.content if isinstance(parsed.content, dict) else {}
    targets = (parsed.redacts, content.get("redacts"))
    relates = content.get("m.relates_to")
    related = relates.get("event_id") if isinstance(relates, dict) else None
    return PurgedEvent(
        event_id,
        position,
        tuple(group for group in (before, after) if group is not None),
        tuple(prev for prev in parsed.prev_events if isinstance(prev, str)),
        tuple(target for target in targets if isinstance(target, str)),
        (related,) if isinstance(related, str) else (),
    )
