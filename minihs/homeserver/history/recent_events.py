"""The places of the events that became durable last, in memory, so that an incremental sync needs no SQL.

Only places and changes of state live here; the events themselves come from the event store and its cache,
which knows about redactions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import msgspec

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID
from minihs.store.timeline import StateChangeRow, TimelineRow

CAPACITY = 4_096
"""Events kept: a burst of a thousand due futures several times over, in about a megabyte."""


class _RoomWindow(msgspec.Struct):
    """One room's part of the window; three lists in step with one another, and the changes of state."""

    positions: list[int] = msgspec.field(default_factory=list)
    rows: list[TimelineRow] = msgspec.field(default_factory=list)
    local: list[bool] = msgspec.field(default_factory=list)
    changes: list[StateChangeRow] = msgspec.field(default_factory=list)


class RecentEvents:
    """A window over the newest events of all rooms: everything with a position above `floor`."""

    def __init__(self, position: int, capacity: int = CAPACITY) -> None:
        self.floor = position
        self.current = position
        self._capacity = capacity
        self._positions: list[int] = []
        self._rooms: list[RoomID] = []
        self._by_room: dict[RoomID, _RoomWindow] = {}

    def add(
        self,
        room_id: RoomID,
        event_id: EventID,
        position: int,
        changes: Sequence[tuple[StateKey, EventID | None, EventID | None]],
        *,
        key: StateKey | None,
        local: bool,
    ) -> None:
        """Append an event that is durable; positions only grow. `changes` are (key, old, new)."""
        replaces = None
        window = self._by_room.get(room_id)
        if window is None:
            window = self._by_room[room_id] = _RoomWindow()
        for changed, old, new in changes:
            window.changes.append(StateChangeRow(position, changed, new, old))
            if changed == key and new == event_id:
                replaces = old
        window.positions.append(position)
        window.rows.append(TimelineRow(position, event_id, replaces))
        window.local.append(local)
        self._positions.append(position)
        self._rooms.append(room_id)
        self.current = position
        if len(self._positions) > 2 * self._capacity:
            self._trim()

    def advance(self, position: int) -> None:
        """Something that is no event has taken a position."""
        self.current = max(self.current, position)

    def covers(self, after: int, upto: int) -> bool:
        """Whether all events with `after` < position ≤ `upto` are in the window."""
        return after >= self.floor and upto <= self.current

    def active_rooms(self, after: int) -> Mapping[RoomID, None]:
        """The rooms with an event later than `after`, in order of first arrival."""
        return dict.fromkeys(self._rooms[bisect_right(self._positions, after) :])

    def rows(self, room_id: RoomID, *, after: int, upto: int) -> Sequence[TimelineRow]:
        """The room's events with `after` < position ≤ `upto`, the oldest first."""
        window = self._by_room.get(room_id)
        if window is None:
            return ()
        return window.rows[bisect_right(window.positions, after) : bisect_right(window.positions, upto)]

    def is_local(self, room_id: RoomID, position: int) -> bool:
        """Whether the event was sent here (so the state before it was the room's state); else not known."""
        window = self._by_room.get(room_id)
        if window is None:
            return False
        index = bisect_right(window.positions, position) - 1
        return index >= 0 and window.positions[index] == position and window.local[index]

    def state_changes(self, room_id: RoomID, *, after: int, upto: int) -> Sequence[StateChangeRow]:
        """The changes to the room's state with `after` < position ≤ `upto`, the oldest first."""
        window = self._by_room.get(room_id)
        if window is None or not window.changes:
            return ()
        return [change for change in window.changes if after < change.position <= upto]

    def _trim(self) -> None:
        """Drop the older half, so that the cost is spread over many events."""
        drop = len(self._positions) - self._capacity
        self.floor = self._positions[drop - 1]
        for room_id in dict.fromkeys(self._rooms[:drop]):
            window = self._by_room[room_id]
            kept_from = bisect_right(window.positions, self.floor)
            if kept_from == len(window.positions):
                del self._by_room[room_id]
                continue
            del window.positions[:kept_from], window.rows[:kept_from], window.local[:kept_from]
            window.changes = [change for change in window.changes if change.position > self.floor]
        del self._positions[:drop], self._rooms[:drop]
