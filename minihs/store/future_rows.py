"""Rows of futures as values, and values as rows. No statement is run here; see `store.futures`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.model import (
    Cancelled,
    CancelRule,
    Cause,
    Failed,
    Future,
    FutureGroup,
    FutureID,
    GroupID,
    MatrixError,
    Millis,
    Outcome,
    Sent,
)
from minihs.store.reader import Row

COLUMNS = """
    futures.future_id, delay_id, owner, room_id, type, state_key, timeout_ms,
    COALESCE(future_timers.started_ms, futures.started_ms),
    COALESCE(future_timers.since_ts, futures.since_ts),
    cancel_rule, dialect, reveals_id, outcome, cause, finalised_ts, event_id, error, group_id, group_name,
    part, bound_type, bound_key
"""
"""What `future_row` reads, of `futures LEFT JOIN future_timers`."""

SENT, CANCELLED, FAILED = 1, 2, 3
"""The column `outcome`; NULL while the future is scheduled."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a future carries to the event it becomes (`content`, a sticky duration, a timestamp that an
    application service chose) and what its dialect needs to show it again (`request`)."""

    content: dict[str, Any]
    sticky_duration_ms: int | None = None
    origin_server_ts: int | None = None
    request: Mapping[str, Any] = msgspec.field(default_factory=dict)


class FutureRow(msgspec.Struct, frozen=True):
    """A future with the group it belongs to."""

    future: Future
    group_id: GroupID
    group_name: str | None


class StoredFuture(msgspec.Struct, frozen=True):
    """A future with everything it carries."""

    future: Future
    group_id: GroupID
    group_name: str | None
    payload: Payload


class TokenRow(msgspec.Struct, frozen=True):
    """What a token does, and to which future."""

    row: FutureRow
    purpose: str


class SteadyRow(msgspec.Struct, frozen=True):
    """What carries the steady clock over a restart: wall minus steady time, and steady time that passed; for
    the run of the machine named `boot_id`, steady time minus the time since that run began."""

    offset_ms: int
    seen_ms: int
    boot_id: str | None = None
    boot_offset_ms: int | None = None


_encode = msgspec.json.Encoder().encode
decode_payload = msgspec.json.Decoder(Payload).decode


def slot_hash(room_id: str, event_type: str, state_key: str) -> int:
    """63 bits that stand for a place in a room's state."""
    slot = "\0".join((room_id, event_type, state_key)).encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(slot).digest()[:8], "big") >> 1


def future_row(row: Row) -> FutureRow:
    """The first columns of a row, which are `COLUMNS`."""
    outcome, cause, finalised_ts, event_id, error, group_id, group_name = row[12:19]
    future = Future(
        id=FutureID(row[0]),
        delay_id=row[1],
        owner=UserID(row[2]),
        room_id=RoomID(row[3]),
        type=row[4],
        state_key=row[5],
        timeout_ms=row[6],
        started_ms=Millis(row[7]),
        since_ts=row[8],
        cancel_rule=CancelRule(row[9]),
        dialect=row[10],
        reveals_id=bool(row[11]),
        part=row[19],
        bound_to=None if row[20] is None else (row[20], row[21]),
        outcome=_outcome(outcome, cause, finalised_ts, event_id, error),
    )
    return FutureRow(future, GroupID(group_id), group_name)


def outcome_columns(outcome: Outcome) -> tuple[int, str, int, str | None, bytes | None]:
    """`outcome, cause, finalised_ts, event_id, error` as they are stored."""
    number, event_id, error = CANCELLED, None, None
    if isinstance(outcome, Sent):
        number, event_id = SENT, outcome.event_id
    elif isinstance(outcome, Failed):
        number, error = FAILED, _encode(outcome.error)
    return number, outcome.cause.value, outcome.at_wall_ms, event_id, error


def _outcome(
    number: int | None, cause: str | None, at_wall_ms: int, event_id: str | None, error: bytes | None
) -> Outcome | None:
    if number is None:
        return None
    if number == SENT and event_id is not None:
        return Sent(EventID(event_id), Cause(cause), at_wall_ms)
    if number == FAILED and error is not None:
        return Failed(msgspec.json.decode(error, type=MatrixError), Cause(cause), at_wall_ms)
    return Cancelled(Cause(cause), at_wall_ms)


def stored_future(row: Row) -> StoredFuture:
    """`COLUMNS` and, last, the payload."""
    kept = future_row(row)
    return StoredFuture(kept.future, kept.group_id, kept.group_name, decode_payload(row[-1]))


def groups_of(rows: Iterable[FutureRow]) -> Iterator[FutureGroup]:
    """Rows that are sorted by group, as groups."""
    members: list[Future] = []
    first: FutureRow | None = None
    for row in rows:
        if first is not None and row.group_id != first.group_id:
            yield FutureGroup(first.group_id, first.future.owner, first.group_name, tuple(members))
            members = []
        if not members:
            first = row
        members.append(row.future)
    if first is not None:
        yield FutureGroup(first.group_id, first.future.owner, first.group_name, tuple(members))
