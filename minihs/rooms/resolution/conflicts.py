"""What the states disagree about: the sets that the "Definitions" of state resolution name.

Sets only, no order and no rules. The large agreeing part of the states is never copied, and its events are
walked only if the answer depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.events.versions import RoomVersion
from minihs.rooms.dag import MissingEvents, authorising_ids
from minihs.rooms.state_map import StateMap


class AuthGraph:
    """The loaded events, seen as the graph that their `auth_events` span.

    Everything that needs an event which is not loaded raises `MissingEvents`.
    """

    def __init__(self, events: Mapping[EventID, Event]) -> None:
        self._events = events

    def __getitem__(self, event_id: EventID) -> Event:
        try:
            return self._events[event_id]
        except KeyError:
            raise MissingEvents([event_id]) from None

    def require(self, event_ids: Iterable[EventID]) -> None:
        """Raise `MissingEvents` with all of `event_ids` that are not loaded."""
        if missing := [event_id for event_id in event_ids if event_id not in self._events]:
            raise MissingEvents(missing)

    def chain_of(
        self, event_ids: Iterable[EventID], *, beyond: AbstractSet[EventID] = frozenset()
    ) -> set[EventID]:
        """The union of the auth chains of `event_ids` ("Auth chain").

        The walk does not go past events in `beyond`; those it meets are left out.
        """
        events = self._events
        to_visit = list(event_ids)
        chain: set[EventID] = set()
        missing: list[EventID] = []
        while to_visit:
            event_id = to_visit.pop()
            event = events.get(event_id)
            if event is None:
                missing.append(event_id)
                continue
            for parent in authorising_ids(event):
                if parent not in chain and parent not in beyond:
                    chain.add(parent)
                    to_visit.append(parent)
        if missing:
            raise MissingEvents(missing)
        return chain

    def conflicted_chain_of(
        self, event_ids: Iterable[EventID], conflicted: AbstractSet[EventID]
    ) -> set[EventID]:
        """What `event_ids` reach along auth events without leaving the full conflicted set `conflicted`.

        The text of v2 takes all of their auth chains that is in the set, also behind a gap; other servers
        stop at the gap, and so does this one. In v2.1 there are no gaps. See
        docs/decisions/state-resolution.md.
        """
        to_visit = list(event_ids)
        chain: set[EventID] = set()
        while to_visit:
            for parent in authorising_ids(self[to_visit.pop()]):
                if parent in conflicted and parent not in chain:
                    chain.add(parent)
                    to_visit.append(parent)
        return chain

    def between(self, ends: AbstractSet[EventID]) -> set[EventID]:
        """All events on the paths along auth events from any one of `ends` to another, without the ends."""
        reachable = self.chain_of(ends)
        cited_by: dict[EventID, list[EventID]] = {}
        for event_id in reachable - ends:
            for parent in authorising_ids(self._events[event_id]):
                cited_by.setdefault(parent, []).append(event_id)
        found: set[EventID] = set()
        to_visit = list(ends)
        while to_visit:
            for event_id in cited_by.get(to_visit.pop(), ()):
                if event_id not in found:
                    found.add(event_id)
                    to_visit.append(event_id)
        return found


def split(states: Sequence[StateMap]) -> tuple[StateMap, list[set[EventID]]]:
    """The unconflicted state map, and for each state its part of the conflicted state set.

    A key is unconflicted if all states hold it with the same event; one that any state lacks is conflicted.
    """
    first = states[0]
    keys: set[StateKey] = {change.key for other in states[1:] for change in first.difference(other)}
    conflicted = [{event_id for key in keys if (event_id := state.get(key)) is not None} for state in states]
    return (first.update(removed=keys) if keys else first), conflicted


def full_conflicted_set(
    unconflicted: StateMap,
    conflicted_by_fork: Sequence[AbstractSet[EventID]],
    graph: AuthGraph,
    version: RoomVersion,
) -> set[EventID]:
    """The conflicted state set with the auth difference, in v2.1 also with the conflicted state subgraph."""
    conflicted: set[EventID] = set().union(*conflicted_by_fork)
    graph.require(conflicted)
    if version.state_resolution_2_1:
        conflicted |= graph.between(conflicted)
    return conflicted | auth_difference(unconflicted, conflicted_by_fork, graph, known=conflicted)


def auth_difference(
    unconflicted: StateMap,
    conflicted_by_fork: Sequence[AbstractSet[EventID]],
    graph: AuthGraph,
    known: AbstractSet[EventID] = frozenset(),
) -> set[EventID]:
    """The events that are in the full auth chain of some of the states but not of all, other than `known`.

    A state's full auth chain is that of its conflicted events joined with that of the agreeing ones, and
    the latter is the same for all. So only what the former differ in can be in the difference, and of that,
    what the agreeing events reach is not. `known` spares the long walk from those where its answer would
    change nothing.

    An event of a state counts as reached by that state. The text leaves it open whether a chain includes
    its start; where it matters, an event on which all states agree would count as telling them apart. Other
    servers read it so too, and resolution must give all servers the same answer.
    """
    chains = [graph.chain_of(conflicted) | conflicted for conflicted in conflicted_by_fork]
    shared = set.intersection(*chains)
    candidates = {
        event_id
        for event_id in set.union(*chains) - shared - known
        if unconflicted.get(graph[event_id].key) != event_id
    }
    if not candidates:
        return set()
    # What lies behind a shared event is shared, so the walk may stop at each.
    agreed = (event_id for _, event_id in unconflicted.unsorted_items() if event_id not in shared)
    return candidates - graph.chain_of(agreed, beyond=shared)
