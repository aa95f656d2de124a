"""Futures, their timers, outcomes and tokens: their SQL and nothing else.

Ids and tokens are found by their hashes, so that no comparison of a secret takes a telling time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.futures.model import CancelRule, Future, FutureGroup, FutureID, GroupID, Millis
from minihs.store.future_rows import (
    CANCELLED,
    COLUMNS,
    FutureRow,
    Payload,
    SteadyRow,
    StoredFuture,
    TokenRow,
    decode_payload,
    future_row,
    groups_of,
    outcome_columns,
    slot_hash,
    stored_future,
)
from minihs.store.reader import Reader
from minihs.store.writer import Batch

_FUTURES = f"SELECT {COLUMNS} FROM futures LEFT JOIN future_timers USING (future_id)"
_WITH_PAYLOAD = f"SELECT {COLUMNS}, payload FROM futures LEFT JOIN future_timers USING (future_id)"

_OF_GROUP = """
    futures.outcome IS NULL AND futures.future_id IN (
        SELECT id FROM wanted UNION ALL
        SELECT future_id FROM futures, wanted
        WHERE group_id = wanted.id AND group_id <> future_id AND outcome IS NULL
    ) ORDER BY futures.future_id
"""
"""The scheduled members of the group `wanted`: the first by its ID, which is the group's, the others by an
index that holds no first ones."""

_LAST_POSITION = "SELECT MAX(finalised_position) FROM futures WHERE finalised_position IS NOT NULL"

_encode = msgspec.json.Encoder().encode


class FutureStore:
    """Reads of futures, and the statements that change them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def last_id(self) -> FutureID:
        """The highest ID ever given; 0 before the first."""
        (last,) = await self._reader.one("SELECT COALESCE(MAX(future_id), 0) FROM futures")
        return FutureID(last)

    async def last_position(self) -> int:
        """The highest position in the stream of outcomes; 0 before the first."""
        (last,) = await self._reader.one(_LAST_POSITION)
        return last or 0

    async def maybe_future(self, delay_id: str) -> FutureRow | None:
        """The future with that public ID."""
        row = await self._reader.maybe(f"{_FUTURES} WHERE id_hash = ?", (secret_hash(delay_id),))
        return None if row is None else future_row(row)

    async def maybe_stored(self, delay_id: str) -> StoredFuture | None:
        """The future with that public ID, and its content."""
        row = await self._reader.maybe(f"{_WITH_PAYLOAD} WHERE id_hash = ?", (secret_hash(delay_id),))
        return None if row is None else stored_future(row)

    async def maybe_token(self, token: str) -> TokenRow | None:
        """What the token is for; its future may be finalised."""
        row = await self._reader.maybe(
            f"SELECT {COLUMNS}, purpose FROM future_tokens CROSS JOIN futures USING (future_id)"
            " LEFT JOIN future_timers USING (future_id) WHERE token_hash = ?",
            (secret_hash(token),),
        )
        return None if row is None else TokenRow(future_row(row), row[-1])

    async def maybe_group_of(self, future_id: FutureID) -> GroupID | None:
        """The group of a scheduled future."""
        row = await self._reader.maybe(
            "SELECT group_id FROM futures WHERE future_id = ? AND outcome IS NULL", (future_id,)
        )
        return None if row is None else GroupID(row[0])

    async def maybe_group_named(self, name: str) -> GroupID | None:
        """The unfinished group that has the name now."""
        row = await self._reader.maybe(
            "SELECT group_id FROM futures WHERE group_name = ? AND outcome IS NULL LIMIT 1", (name,)
        )
        return None if row is None else GroupID(row[0])

    async def maybe_group(self, group_id: GroupID) -> FutureGroup | None:
        """The group with its scheduled members; None when it is finished."""
        rows = await self._reader.all(
            f"WITH wanted (id) AS (VALUES (?)) {_FUTURES} WHERE {_OF_GROUP}", (group_id,)
        )
        return next(groups_of(map(future_row, rows)), None)

    async def maybe_group_with(self, delay_id: str) -> FutureGroup | None:
        """The group of the future with that public ID, with its scheduled members, of which that future need
        not be one; None when it is finished or there is none."""
        rows = await self._reader.all(
            "WITH wanted (id) AS (SELECT group_id FROM futures WHERE id_hash = ?)"
            f" {_FUTURES} WHERE {_OF_GROUP}",
            (secret_hash(delay_id),),
        )
        return next(groups_of(map(future_row, rows)), None)

    async def has_slots(self) -> bool:
        """Whether newer state may end any scheduled future."""
        (there,) = await self._reader.one(
            "SELECT EXISTS (SELECT 1 FROM futures WHERE outcome IS NULL AND slot_hash IS NOT NULL)"
            " OR EXISTS (SELECT 1 FROM futures WHERE outcome IS NULL AND bound_hash IS NOT NULL)"
        )
        return bool(there)

    async def all_groups_on(self, slot: int) -> list[GroupID]:
        """Groups with a scheduled future that newer state on a slot (`slot_hash`) may end, by ID."""
        rows = await self._reader.all(
            "SELECT group_id FROM futures WHERE outcome IS NULL AND slot_hash = ?1"
            " UNION SELECT group_id FROM futures WHERE outcome IS NULL AND bound_hash = ?1"
            " ORDER BY group_id",
            (slot,),
        )
        return [GroupID(group_id) for (group_id,) in rows]

    async def one_payload(self, future_id: FutureID) -> Payload:
        """What a kept future carries."""
        (payload,) = await self._reader.one("SELECT payload FROM futures WHERE future_id = ?", (future_id,))
        return decode_payload(payload)

    async def scheduled_count(self, owner: UserID) -> int:
        """How many futures of the user are scheduled."""
        row = await self._reader.maybe("SELECT scheduled FROM future_counts WHERE owner = ?", (owner,))
        return 0 if row is None else int(row[0])

    async def all_of_room(self, room_id: RoomID) -> list[Future]:
        """Every future for a room that is known yet, of all users, in the order in which they were taken."""
        rows = await self._reader.all(f"{_FUTURES} WHERE room_id = ? ORDER BY futures.future_id", (room_id,))
        return [future_row(row).future for row in rows]

    async def one_total(self) -> int:
        """How many futures of all users are scheduled."""
        (total,) = await self._reader.one("SELECT COALESCE(SUM(scheduled), 0) FROM future_counts")
        return int(total)

    async def maybe_next_due(self, owner: UserID) -> Millis | None:
        """When the user's next future is due, by the steady clock."""
        (due,) = await self._reader.one(
            "SELECT MIN(due_ms) FROM futures CROSS JOIN future_timers USING (future_id)"
            " WHERE owner = ? AND outcome IS NULL",
            (owner,),
        )
        return None if due is None else Millis(due)

    async def all_due_after(self, after: tuple[int, int], limit: int) -> list[tuple[int, FutureID]]:
        """Timers behind a (due time, ID), in that order, at most `limit`."""
        rows = await self._reader.all(
            "SELECT due_ms, future_id FROM future_timers WHERE (due_ms, future_id) > (?, ?)"
            " ORDER BY due_ms, future_id LIMIT ?",
            (*after, limit),
        )
        return [(due_ms, FutureID(future_id)) for due_ms, future_id in rows]

    async def all_scheduled(
        self, owner: UserID, dialects: Sequence[str], after: tuple[int, int] = (-1, -1), limit: int = -1
    ) -> list[StoredFuture]:
        """The user's scheduled futures of some dialects, in order of due time behind a (due time, ID)."""
        due = "COALESCE(future_timers.due_ms, 0)"
        rows = await self._reader.all(
            f"{_WITH_PAYLOAD} WHERE owner = ? AND outcome IS NULL"
            f" AND dialect IN (SELECT value FROM json_each(?)) AND ({due}, futures.future_id) > (?, ?)"
            f" ORDER BY {due}, futures.future_id LIMIT ?",
            (owner, _encode(list(dialects)).decode(), *after, limit),
        )
        return [stored_future(row) for row in rows]

    async def all_finalised(
        self,
        owner: UserID,
        dialects: Sequence[str],
        before: tuple[int, int] = (2**62, 0),
        limit: int = -1,
    ) -> list[StoredFuture]:
        """The user's finalised futures of some dialects, the latest first, before a (moment, ID)."""
        rows = await self._reader.all(
            f"{_WITH_PAYLOAD} WHERE owner = ? AND outcome IS NOT NULL"
            " AND dialect IN (SELECT value FROM json_each(?)) AND (finalised_ts, futures.future_id) < (?, ?)"
            " ORDER BY finalised_ts DESC, futures.future_id DESC LIMIT ?",
            (owner, _encode(list(dialects)).decode(), *before, limit),
        )
        return [stored_future(row) for row in rows]

    async def all_news(
        self, owner: UserID, dialects: Sequence[str], after: int, upto: int
    ) -> list[StoredFuture]:
        """The user's futures of some dialects that were sent or failed behind one position of the stream of
        outcomes and up to another, in that order."""
        rows = await self._reader.all(
            f"{_WITH_PAYLOAD} WHERE owner = ? AND finalised_position > ? AND finalised_position <= ?"
            f" AND outcome <> {CANCELLED} AND dialect IN (SELECT value FROM json_each(?))"
            " ORDER BY finalised_position",
            (owner, after, upto, _encode(list(dialects)).decode()),
        )
        return [stored_future(row) for row in rows]

    async def one_end_of_news(self, owner: UserID, after: int, upto: int, limit: int) -> int:
        """Up to which position of the stream of outcomes, `upto` at most, `limit` futures of the user were
        sent or failed behind another."""
        row = await self._reader.maybe(
            "SELECT finalised_position FROM futures WHERE owner = ? AND finalised_position > ?"
            f" AND finalised_position <= ? AND outcome <> {CANCELLED}"
            " ORDER BY finalised_position LIMIT 1 OFFSET ?",
            (owner, after, upto, limit - 1),
        )
        return upto if row is None else int(row[0])

    async def all_groups_of(self, owner: UserID, limit: int) -> list[GroupID]:
        """Groups of the user that are not finished, in order of their IDs."""
        rows = await self._reader.all(
            "SELECT DISTINCT group_id FROM futures WHERE owner = ? AND outcome IS NULL"
            " ORDER BY group_id LIMIT ?",
            (owner, limit),
        )
        return [GroupID(group_id) for (group_id,) in rows]

    async def all_expired(self, before_ts: int, limit: int) -> list[FutureID]:
        """Futures finalised before a moment, the oldest first."""
        rows = await self._reader.all(
            "SELECT future_id FROM futures WHERE outcome IS NOT NULL AND finalised_ts < ?"
            " ORDER BY finalised_ts, future_id LIMIT ?",
            (before_ts, limit),
        )
        return [FutureID(future_id) for (future_id,) in rows]

    async def all_superfluous(self, owner: UserID, keep: int, limit: int) -> list[FutureID]:
        """The user's finalised futures behind the newest `keep`."""
        rows = await self._reader.all(
            "SELECT future_id FROM futures WHERE owner = ? AND outcome IS NOT NULL"
            " ORDER BY finalised_ts DESC, future_id DESC LIMIT ? OFFSET ?",
            (owner, limit, keep),
        )
        return [FutureID(future_id) for (future_id,) in rows]

    async def maybe_secret(self, name: str) -> bytes | None:
        """A key of this server."""
        row = await self._reader.maybe("SELECT value FROM secrets WHERE name = ?", (name,))
        return None if row is None else bytes(row[0])

    async def maybe_steady(self) -> SteadyRow | None:
        """What the last process knew of the steady clock."""
        row = await self._reader.maybe("SELECT offset_ms, seen_ms, boot_id, boot_offset_ms FROM steady_clock")
        return None if row is None else SteadyRow(*row)

    def add(self, batch: Batch, future: Future, group: FutureGroup, payload: Payload) -> None:
        """A new future, and its timer when it has one."""
        batch.add(
            "INSERT INTO futures (future_id, id_hash, delay_id, group_id, group_name, owner, room_id, type,"
            " state_key, timeout_ms, started_ms, since_ts, cancel_rule, slot_hash, dialect, reveals_id, part,"
            " bound_type, bound_key, bound_hash, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                future.id,
                secret_hash(future.delay_id),
                future.delay_id,
                group.id,
                group.name,
                future.owner,
                future.room_id,
                future.type,
                future.state_key,
                future.timeout_ms,
                future.started_ms,
                future.since_ts,
                future.cancel_rule.value,
                _slot(future),
                future.dialect,
                int(future.reveals_id),
                future.part,
                *(future.bound_to or (None, None)),
                None if future.bound_to is None else slot_hash(future.room_id, *future.bound_to),
                _encode(payload),
            ),
        )
        if future.due_ms is not None:
            batch.add(
                "INSERT INTO future_timers (future_id, started_ms, since_ts, due_ms) VALUES (?, ?, ?, ?)",
                (future.id, future.started_ms, future.since_ts, future.due_ms),
            )

    def restart(self, batch: Batch, future: Future) -> None:
        """The timer of a kept future runs anew."""
        batch.add(
            "UPDATE future_timers SET started_ms = ?, since_ts = ?, due_ms = ? WHERE future_id = ?",
            (future.started_ms, future.since_ts, future.due_ms, future.id),
        )

    def finalise(self, batch: Batch, future: Future, position: int) -> None:
        """Keep the outcome of a future, at its place in the stream of outcomes, and stop its timer; the batch
        fails when it has one already."""
        if future.outcome is None:
            raise ValueError("a future without an outcome is not finalised")
        batch.add(
            "UPDATE futures SET outcome = ?, cause = ?, finalised_ts = ?, event_id = ?, error = ?,"
            " started_ms = ?, since_ts = ?, finalised_position = ? WHERE future_id = ?",
            (*outcome_columns(future.outcome), future.started_ms, future.since_ts, position, future.id),
        )
        if future.timeout_ms is not None:
            batch.add("DELETE FROM future_timers WHERE future_id = ?", (future.id,))

    def add_token(self, batch: Batch, token: str, future_id: FutureID, purpose: str) -> None:
        """Let a token be found."""
        batch.add(
            "INSERT INTO future_tokens (token_hash, future_id, purpose) VALUES (?, ?, ?)",
            (secret_hash(token), future_id, purpose),
        )

    def forget(self, batch: Batch, future_ids: Iterable[FutureID]) -> None:
        """Forget finalised futures and their tokens. The highest ID and the highest position of all stay, so
        that none is given again."""
        ids = _encode(list(future_ids)).decode()
        batch.add(
            "DELETE FROM futures WHERE future_id IN (SELECT value FROM json_each(?1))"
            " AND outcome IS NOT NULL AND future_id < (SELECT MAX(future_id) FROM futures)"
            f" AND finalised_position < ({_LAST_POSITION})",
            (ids,),
        )
        batch.add(
            "DELETE FROM future_tokens WHERE future_id IN (SELECT value FROM json_each(?1))"
            " AND NOT EXISTS (SELECT 1 FROM futures WHERE futures.future_id = future_tokens.future_id)",
            (ids,),
        )

    def set_secret(self, batch: Batch, name: str, value: bytes) -> None:
        """Keep a key; the batch fails when there is one of that name."""
        batch.add("INSERT INTO secrets (name, value) VALUES (?, ?)", (name, value))

    def set_steady(self, batch: Batch, row: SteadyRow) -> None:
        """Keep what carries the steady clock over a restart."""
        batch.add(
            "INSERT OR REPLACE INTO steady_clock (id, offset_ms, seen_ms, boot_id, boot_offset_ms)"
            " VALUES (1, ?, ?, ?, ?)",
            (row.offset_ms, row.seen_ms, row.boot_id, row.boot_offset_ms),
        )


def secret_hash(secret: str) -> bytes:
    """The 128 bits under which an ID or a token is found. Unsalted: what is hashed is random itself."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()[:16]


def _slot(future: Future) -> int | None:
    if future.state_key is None or future.cancel_rule is CancelRule.NEVER:
        return None
    return slot_hash(future.room_id, future.type, future.state_key)
