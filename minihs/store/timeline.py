"""Reads of a room's events in order of arrival, of the changes to its state, and of its membership.

Nothing is written here, and no event's JSON is read: `store.events` turns the ids into events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.store.reader import Reader, Row

FIRST_LIVE_POSITION = 1  # negative positions are history that was fetched later


class TimelineRow(msgspec.Struct, frozen=True, gc=False):
    """An event's place, and the state event (if any) that it replaced in the room's current state."""

    position: int
    event_id: EventID
    replaces: EventID | None


class TimedRow(NamedTuple):
    """When an event says that it was sent, and its place; in the order in which `all_by_time` gives them."""

    origin_server_ts: int
    position: int
    event_id: EventID


class StateChangeRow(msgspec.Struct, frozen=True, gc=False):
    """One key of a room's current state that changed with the event at `position`."""

    position: int
    key: StateKey
    new: EventID | None
    old: EventID | None


class MembershipRecord(msgspec.Struct, frozen=True):
    """What a user is to a room now; `invite_state` is the JSON list that came with an invite from afar."""

    room_id: RoomID
    membership: str
    event_id: EventID
    sender: UserID
    position: int
    forgotten: bool
    invite_state: bytes | None


_TIMELINE = (
    "SELECT e.position, e.event_id, c.prev_event_id FROM events AS e"
    " LEFT JOIN state_changes AS c ON c.room_id = e.room_id AND c.position = e.position"
    " AND c.type = e.type AND c.state_key = e.state_key "
)
_MEMBERSHIP = (
    "SELECT room_id, membership, event_id, sender, position, forgotten, invite_state FROM memberships "
)


class TimelineStore:
    """Reads for `/sync`, `/messages` and their kind."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all_newest(self, room_id: RoomID, *, after: int, upto: int, limit: int) -> list[TimelineRow]:
        """The last `limit` accepted events with `after` < position ≤ `upto`, the newest first."""
        rows = await self._reader.all(
            _TIMELINE + "WHERE e.room_id = ? AND e.standing = 0 AND e.position > ? AND e.position <= ?"
            " ORDER BY e.position DESC LIMIT ?",
            (room_id, after, upto, limit),
        )
        return [TimelineRow(*row) for row in rows]

    async def all_oldest(self, room_id: RoomID, *, after: int, upto: int, limit: int) -> list[TimelineRow]:
        """The first `limit` accepted events with `after` < position ≤ `upto`, the oldest first."""
        rows = await self._reader.all(
            _TIMELINE + "WHERE e.room_id = ? AND e.standing = 0 AND e.position > ? AND e.position <= ?"
            " ORDER BY e.position LIMIT ?",
            (room_id, after, upto, limit),
        )
        return [TimelineRow(*row) for row in rows]

    async def all_by_time(
        self, room_id: RoomID, ts: int, *, forwards: bool, after: TimedRow | None, limit: int
    ) -> list[TimedRow]:
        """The `limit` accepted events nearest to a moment in one direction, the nearest first, equal ones in
        the order of the room; `after` goes on behind a row of an earlier answer."""
        compare, order = (">", "") if forwards else ("<", " DESC")
        start: tuple[int, int] = (ts, -(1 << 62) if forwards else 1 << 62) if after is None else after[:2]
        rows = await self._reader.all(
            "SELECT origin_server_ts, position, event_id FROM events WHERE room_id = ? AND standing = 0"
            f" AND (origin_server_ts, position) {compare} (?, ?)"
            f" ORDER BY origin_server_ts{order}, position{order} LIMIT ?",
            (room_id, *start, limit),
        )
        return [TimedRow(*row) for row in rows]

    async def all_of(self, event_ids: Iterable[EventID]) -> dict[EventID, TimelineRow]:
        """The places of these events, accepted or not; unknown ids are absent."""
        rows = await self._reader.all(
            _TIMELINE + "WHERE e.event_id IN (SELECT value FROM json_each(?)) ORDER BY e.position",
            (json.dumps(sorted(event_ids)),),
        )
        return {row[1]: TimelineRow(*row) for row in rows}

    async def all_active_rooms(self, room_ids: Iterable[RoomID], *, after: int, upto: int) -> list[RoomID]:
        """Those of the rooms in which an event was accepted, or the state changed, between two positions."""
        rows = await self._reader.all(
            "SELECT value FROM json_each(?1) WHERE EXISTS (SELECT 1 FROM events WHERE room_id = value"
            " AND standing = 0 AND position > ?2 AND position <= ?3) OR EXISTS (SELECT 1 FROM state_changes"
            " WHERE room_id = value AND position > ?2 AND position <= ?3) ORDER BY value",
            (json.dumps(sorted(room_ids)), after, upto),
        )
        return [room_id for (room_id,) in rows]

    async def maybe_oldest_event(self, room_id: RoomID) -> EventID | None:
        """Where the accepted events of the room begin, fetched history included."""
        row = await self._reader.maybe(
            "SELECT event_id FROM events WHERE room_id = ? AND standing = 0 ORDER BY position LIMIT 1",
            (room_id,),
        )
        return None if row is None else row[0]

    async def all_state_changes(self, room_id: RoomID, *, after: int, upto: int) -> list[StateChangeRow]:
        """Changes to the room's current state with `after` < position ≤ `upto`, the oldest first."""
        rows = await self._reader.all(
            "SELECT position, type, state_key, event_id, prev_event_id FROM state_changes"
            " WHERE room_id = ? AND position > ? AND position <= ? ORDER BY position, type, state_key",
            (room_id, after, upto),
        )
        return _changes(rows)

    async def all_changes_of_key(self, room_id: RoomID, key: StateKey) -> list[StateChangeRow]:
        """Every change to one key of the room's current state, the oldest first."""
        rows = await self._reader.all(
            "SELECT position, type, state_key, event_id, prev_event_id FROM state_changes"
            " WHERE room_id = ? AND type = ? AND state_key = ? ORDER BY position",
            (room_id, *key),
        )
        return _changes(rows)

    async def all_visibility_events(self, room_id: RoomID) -> list[EventID]:
        """Every m.room.history_visibility event that may stand in some state of the room (none rejected)."""
        rows = await self._reader.all(
            "SELECT event_id FROM events WHERE room_id = ? AND type = 'm.room.history_visibility'"
            " AND standing NOT IN (2, 4) ORDER BY position",
            (room_id,),
        )
        return [event_id for (event_id,) in rows]

    async def state_entries(
        self, groups: Iterable[int], keys: Sequence[StateKey]
    ) -> Mapping[int, Mapping[StateKey, EventID]]:
        """What these few `keys` hold in each of the state groups; keys that are not set are absent."""
        wanted = sorted(set(groups))
        found: dict[int, dict[StateKey, EventID | None]] = {group: {} for group in wanted}
        if wanted:
            rows = await self._reader.all(
                "WITH RECURSIVE chain(asked, state_group, hops) AS ("
                " SELECT value, value, 0 FROM json_each(?1) UNION ALL"
                " SELECT asked, prev_group, hops + 1 FROM chain JOIN state_groups USING (state_group)"
                " WHERE prev_group IS NOT NULL)"
                " SELECT asked, entry.type, entry.state_key, entry.event_id FROM chain"
                " CROSS JOIN json_each(?2) AS wanted JOIN state_group_entries AS entry"
                " ON entry.state_group = chain.state_group AND entry.type = wanted.value ->> 0"
                " AND entry.state_key = wanted.value ->> 1 ORDER BY asked, hops, entry.type, entry.state_key",
                (json.dumps(wanted), json.dumps(keys)),
            )
            for group, type_, state_key, event_id in rows:
                found[group].setdefault((type_, state_key), event_id)
        return {
            group: {key: event_id for key, event_id in entries.items() if event_id is not None}
            for group, entries in found.items()
        }

    async def all_memberships(self, user_id: UserID) -> list[MembershipRecord]:
        """Everything the user is or was to rooms, forgotten ones included, by room ID."""
        rows = await self._reader.all(_MEMBERSHIP + "WHERE user_id = ? ORDER BY room_id", (user_id,))
        return [_membership(row) for row in rows]

    async def maybe_membership(self, user_id: UserID, room_id: RoomID) -> MembershipRecord | None:
        """What the user is to the room; None when they never were anything."""
        row = await self._reader.maybe(_MEMBERSHIP + "WHERE user_id = ? AND room_id = ?", (user_id, room_id))
        return None if row is None else _membership(row)

    async def member_counts(self, room_id: RoomID) -> Mapping[str, int]:
        """How many users have each membership of the room."""
        rows = await self._reader.all(
            "SELECT membership, COUNT(*) FROM memberships WHERE room_id = ?"
            " GROUP BY membership ORDER BY membership",
            (room_id,),
        )
        return dict(rows)

    async def all_heroes(
        self, room_id: RoomID, but_not: UserID, memberships: tuple[str, str], limit: int
    ) -> list[UserID]:
        """The first `limit` other users with one of two memberships of the room, in order of arrival."""
        rows = await self._reader.all(
            "SELECT user_id FROM memberships WHERE room_id = ? AND membership IN (?, ?) AND user_id != ?"
            " ORDER BY position, user_id LIMIT ?",
            (room_id, *memberships, but_not, limit),
        )
        return [user_id for (user_id,) in rows]


def _changes(rows: Iterable[Row]) -> list[StateChangeRow]:
    return [
        StateChangeRow(position, (type_, state_key), new, old)
        for position, type_, state_key, new, old in rows
    ]


def _membership(row: Row) -> MembershipRecord:
    room_id, membership, event_id, sender, position, forgotten, invite_state = row
    return MembershipRecord(room_id, membership, event_id, sender, position, bool(forgotten), invite_state)
