"""The state of rooms at events: looked up, and resolved where the graph has forked.

The pure resolution asks for events by raising MissingEvents; they are loaded here and it is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID
from minihs.events.versions import RoomVersion
from minihs.rooms.dag import AuthChainWalk, MissingEvents
from minihs.rooms.resolution import resolve
from minihs.rooms.state_map import StateMap
from minihs.store.events import EventRow, EventStore, Standing, StoredPDU
from minihs.store.state import StateGroup, StateStore


class IncompleteHistory(Exception):
    """An event that a state resolution needs is not stored here."""

    def __init__(self, event_ids: Sequence[EventID]) -> None:
        super().__init__(f"events that the state resolution needs are not known: {', '.join(event_ids)}")
        self.event_ids = tuple(event_ids)


class RoomStates:
    """Reads that include events and state groups which are still in the writer's queue."""

    def __init__(self, events: EventStore, states: StateStore) -> None:
        self._events = events
        self._states = states
        self._rows_under_way: dict[EventID, EventRow] = {}
        self._redactions_under_way: dict[EventID, EventRow] = {}
        self._groups_under_way: dict[int, StateGroup] = {}

    def under_way(self, rows: Iterable[EventRow], groups: Iterable[StateGroup]) -> None:
        """These are in the writer's queue from now on."""
        for row in rows:
            self._rows_under_way[row.event.event_id] = row
            if row.event.redacts is not None and row.standing is Standing.ACCEPTED:
                self._redactions_under_way[row.event.event_id] = row
        self._groups_under_way.update((group.number, group) for group in groups)

    def settled(self, rows: Iterable[EventRow], groups: Iterable[StateGroup]) -> None:
        """These have become durable, or have failed."""
        for row in rows:
            self._rows_under_way.pop(row.event.event_id, None)
            self._redactions_under_way.pop(row.event.event_id, None)
        for group in groups:
            self._groups_under_way.pop(group.number, None)

    async def maybe_row(self, event_id: EventID) -> EventRow | None:
        """The event and what is known of it."""
        return self._rows_under_way.get(event_id) or await self._events.maybe_row(event_id)

    async def rows(self, event_ids: Iterable[EventID]) -> dict[EventID, EventRow]:
        """Those that are known, in the order in which they were asked for."""
        wanted = list(event_ids)
        under_way = self._rows_under_way
        found = {event_id: under_way[event_id] for event_id in wanted if event_id in under_way}
        if len(found) == len(wanted):
            return found
        stored = await self._events.rows([event_id for event_id in wanted if event_id not in found])
        if len(stored) == len(wanted):
            return stored
        return {
            event_id: row
            for event_id in wanted
            if (row := found.get(event_id) or stored.get(event_id) or under_way.get(event_id)) is not None
        }

    async def pdus(self, event_ids: Sequence[EventID]) -> dict[EventID, StoredPDU]:
        """Those that are known, as other servers get them, in the order in which they were asked for."""
        found = await self._events.pdus(event_ids)
        for event_id in event_ids:
            if event_id not in found and event_id in self._rows_under_way:
                found[event_id] = StoredPDU.of(self._rows_under_way[event_id].event)
        return {event_id: found[event_id] for event_id in event_ids if event_id in found}

    async def events(self, event_ids: Iterable[EventID]) -> dict[EventID, Event]:
        """Those that are known, by ID."""
        wanted = list(event_ids)
        found = {
            event_id: self._rows_under_way[event_id].event
            for event_id in wanted
            if event_id in self._rows_under_way
        }
        found.update(await self._events.events([event_id for event_id in wanted if event_id not in found]))
        return found

    async def children(self, event_id: EventID) -> list[EventRow]:
        """The events that name this one as a previous event."""
        under_way = [row for row in self._rows_under_way.values() if event_id in row.event.prev_events]
        stored = await self.rows(await self._events.all_children(event_id))
        return [*stored.values(), *(row for row in under_way if row.event.event_id not in stored)]

    async def redactions_of(self, event_ids: Iterable[EventID]) -> list[EventRow]:
        """Accepted redactions that name one of these events, oldest first."""
        wanted = list(event_ids)
        under_way = [row for row in self._redactions_under_way.values() if row.event.redacts in wanted]
        return [*await self._events.all_redactions_of(wanted), *under_way]

    async def lowest_depth(self, room_id: RoomID) -> int:
        """The lowest depth of a durable, accepted event of the room; 0 when there is none."""
        return await self._events.lowest_depth(room_id)

    async def group(self, number: int) -> StateGroup:
        """The state group with this number."""
        return self._groups_under_way.get(number) or await self._states.one_group(number)

    async def groups_after(self, room_id: RoomID, event_ids: Sequence[EventID]) -> list[StateGroup] | None:
        """The state after each of the events; None when one of them is not known, only as an outlier, or of
        another room: an event that names it as a previous one would bring that room's state along."""
        groups = []
        for event_id in event_ids:
            row = await self.maybe_row(event_id)
            if row is None or row.after_group is None or row.event.room_id != room_id:
                return None
            groups.append(await self.group(row.after_group))
        return groups

    async def resolve(
        self, version: RoomVersion, forks: Sequence[StateMap], placing: Event | None = None
    ) -> StateMap:
        """The resolved state of `forks`; IncompleteHistory when it cannot be computed.

        `placing` is an event in one of them that is not stored yet.
        """
        distinct: list[StateMap] = []
        for fork in forks:
            if not any(fork is other or fork == other for other in distinct):
                distinct.append(fork)
        if len(distinct) == 1:
            return distinct[0]
        events: dict[EventID, Event] = {} if placing is None else {placing.event_id: placing}
        rejected: set[EventID] = set()
        while True:
            try:
                return resolve(distinct, events, version, rejected)
            except MissingEvents as missing:
                asked = missing.ids
            # Their auth chains come along: asking for those one generation at a time would take many rounds.
            walk = AuthChainWalk[Event](asked)
            while wanted := walk.wanted():
                for event_id, row in (await self.rows(sorted(set(wanted) - events.keys()))).items():
                    events[event_id] = row.event
                    if row.standing.is_rejected:
                        rejected.add(event_id)
                walk.feed(events)
            if absent := [event_id for event_id in asked if event_id not in events]:
                raise IncompleteHistory(absent)
