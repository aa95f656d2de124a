"""In which order conflicting events are judged: by power, or by the mainline of power levels.

Answers to "Reverse topological power ordering" and "Mainline ordering" in the definitions of state
resolution. Both orders are total: neither depends on the order of the input.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.rooms.dag import authorising_ids
from minihs.rooms.power import CREATE, POWER_LEVELS, PowerLevels
from minihs.rooms.resolution.conflicts import AuthGraph

Rank: TypeAlias = tuple[float, int, EventID]


def reverse_topological_power_ordering(event_ids: AbstractSet[EventID], graph: AuthGraph) -> list[EventID]:
    """Every event after those it cites; of the free ones, greater power, then age, then id goes first.

    Kahn's algorithm over a heap, on the graph that the auth events span among `event_ids`.
    """

    def rank(event_id: EventID) -> Rank:
        event = graph[event_id]
        return -sender_power(event, graph), event.origin_server_ts, event_id

    waiting_for: dict[EventID, int] = {}
    citing: dict[EventID, list[EventID]] = {event_id: [] for event_id in event_ids}
    free: list[Rank] = []
    for event_id in event_ids:
        cited = {parent for parent in authorising_ids(graph[event_id]) if parent in event_ids}
        waiting_for[event_id] = len(cited)
        for parent in cited:
            citing[parent].append(event_id)
        if not cited:
            free.append(rank(event_id))
    heapq.heapify(free)

    ordered: list[EventID] = []
    while free:
        event_id = heapq.heappop(free)[-1]
        ordered.append(event_id)
        for later in citing[event_id]:
            waiting_for[later] -= 1
            if not waiting_for[later]:
                heapq.heappush(free, rank(later))
    return ordered


def sender_power(event: Event, graph: AuthGraph) -> float:
    """The power of the event's sender, going by the event's own auth events."""
    create, levels = (_cited(event, key, graph) for key in (CREATE, POWER_LEVELS))
    return PowerLevels(create, levels, event.version).level_of(event.sender)


def mainline_ordering(
    event_ids: AbstractSet[EventID], power_levels: EventID | None, graph: AuthGraph
) -> list[EventID]:
    """The events by their place on the mainline of `power_levels`, furthest back first; then age, then id.

    Without `power_levels` there is no mainline, and no event has an ancestor on it.
    """
    mainline = Mainline(power_levels, graph)

    def rank(event_id: EventID) -> Rank:
        event = graph[event_id]
        return -mainline.position(event), event.origin_server_ts, event_id

    return sorted(event_ids, key=rank)


class Mainline:
    """The power levels that led to the present ones, the present ones being at position 0."""

    def __init__(self, power_levels: EventID | None, graph: AuthGraph) -> None:
        self._graph = graph
        self._positions: dict[EventID, float] = {}
        current = None if power_levels is None else graph[power_levels]
        while current is not None:
            self._positions[current.event_id] = len(self._positions)
            current = _cited(current, POWER_LEVELS, graph)

    def position(self, event: Event) -> float:
        """How far back on the mainline the power levels are that `event` rests on, directly or not.

        An event with no ancestor on the mainline has an infinite position: it precedes all that have one.
        """
        passed: list[EventID] = []  # power levels of side lines, remembered so that none is walked twice
        position = math.inf
        levels = _cited(event, POWER_LEVELS, self._graph)
        while levels is not None:
            known = self._positions.get(levels.event_id)
            if known is not None:
                position = known
                break
            passed.append(levels.event_id)
            levels = _cited(levels, POWER_LEVELS, self._graph)
        for event_id in passed:
            self._positions[event_id] = position
        return position


def _cited(event: Event, key: StateKey, graph: AuthGraph) -> Event | None:
    """The event of this type and state key among those that authorise `event`."""
    for auth_id in authorising_ids(event):
        cited = graph[auth_id]
        if cited.is_state and cited.key == key:
            return cited
    return None
