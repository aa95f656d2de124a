"""State groups: the state of a room at one moment, as a snapshot or as a delta to an earlier group.

Chains of deltas are bounded, so that no read follows more than MAX_CHAIN of them; in memory the maps share
their structure.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.event import StateKey
from minihs.events.ids import EventID
from minihs.rooms.state_map import StateMap
from minihs.store.cache import LruCache
from minihs.store.reader import Reader
from minihs.store.writer import Batch

MAX_CHAIN = 200
"""Deltas before the next snapshot: a read of 200 small rows costs well under a millisecond, and a room with
10,000 state events writes a snapshot's rows at 50 for each state event."""

StateChange = tuple[StateKey, EventID | None]
"""What a key is set to; None: it is no longer set."""


class StateGroup(msgspec.Struct, frozen=True):
    """A stored state: its number, how many deltas lie between it and a snapshot, and the state itself."""

    number: int
    chain_length: int
    state: StateMap


class StateStore:
    """Reads and adds state groups."""

    def __init__(self, reader: Reader, *, highest: int, cached_groups: int = 1_000) -> None:
        self._reader = reader
        self._highest = highest
        self._cache: LruCache[int, StateGroup] = LruCache(cached_groups)

    @classmethod
    async def open(cls, reader: Reader) -> StateStore:
        """The store, with its counter set after the highest group there is."""
        (highest,) = await reader.one(
            "SELECT max(coalesce(MAX(state_group), 0),"
            " coalesce((SELECT number FROM number_floors WHERE counter = 'state_groups'), 0))"
            " FROM state_groups"
        )
        return cls(reader, highest=highest)

    async def one_group(self, number: int) -> StateGroup:
        """The state group with this number."""
        group = self._cache.get(number)
        if group is not None:
            return group
        (chain_length,) = await self._reader.one(
            "SELECT chain_length FROM state_groups WHERE state_group = ?", (number,)
        )
        entries = await self._reader.all(
            """
            WITH RECURSIVE chain (state_group, prev_group, distance) AS (
                SELECT state_group, prev_group, 0 FROM state_groups WHERE state_group = ?
                UNION ALL
                SELECT g.state_group, g.prev_group, chain.distance + 1
                FROM chain JOIN state_groups g ON g.state_group = chain.prev_group
            )
            SELECT e.type, e.state_key, e.event_id
            FROM chain JOIN state_group_entries e USING (state_group)
            ORDER BY chain.distance DESC, e.type, e.state_key
            """,
            (number,),
        )
        state: dict[StateKey, EventID] = {}
        for event_type, state_key, event_id in entries:
            if event_id is None:
                state.pop((event_type, state_key), None)
            else:
                state[event_type, state_key] = event_id
        group = StateGroup(number, chain_length, StateMap.of(state))
        self._cache.put(number, group)
        return group

    def add_snapshot(self, batch: Batch, state: StateMap) -> StateGroup:
        """Store `state` whole."""
        return self._add(batch, None, 0, list(state.items()), state)

    def add_delta(
        self, batch: Batch, base: StateGroup, changes: Sequence[StateChange], state: StateMap
    ) -> StateGroup:
        """Store `state`, which is `base` with `changes`; whole, where the chain would grow too long."""
        if base.chain_length >= MAX_CHAIN:
            return self.add_snapshot(batch, state)
        return self._add(batch, base.number, base.chain_length + 1, changes, state)

    def remember(self, group: StateGroup) -> None:
        """Put a group that has just become durable into the cache."""
        self._cache.put(group.number, group)

    def _add(
        self,
        batch: Batch,
        prev_group: int | None,
        chain_length: int,
        entries: Sequence[StateChange],
        state: StateMap,
    ) -> StateGroup:
        self._highest += 1
        number = self._highest
        batch.add(
            "INSERT INTO state_groups (state_group, prev_group, chain_length) VALUES (?, ?, ?)",
            (number, prev_group, chain_length),
        )
        if len(entries) == 1:
            (event_type, state_key), event_id = entries[0]
            batch.add(
                "INSERT INTO state_group_entries (state_group, type, state_key, event_id)"
                " VALUES (?, ?, ?, ?)",
                (number, event_type, state_key, event_id),
            )
        elif entries:
            rows = [(event_type, state_key, event_id) for (event_type, state_key), event_id in entries]
            batch.add_rows(
                "INSERT INTO state_group_entries (state_group, type, state_key, event_id)"
                " SELECT ?, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
                (number,),
                rows,
            )
        return StateGroup(number, chain_length, state)
