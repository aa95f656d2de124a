"""State resolution, versions 2 (rooms 2 to 11) and 2.1 (room 12): which state follows from several states.

The five steps of the "Algorithm" section of room versions 2 and 12, with their names; `conflicts` holds
what the section's definitions say about sets, `ordering` what they say about order. Loads nothing and
decides no rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.events.versions import RoomVersion
from minihs.rooms.auth import Allowed, authorise, needed_state
from minihs.rooms.dag import MissingEvents, authorising_ids
from minihs.rooms.power import POWER_LEVELS
from minihs.rooms.resolution.conflicts import AuthGraph, full_conflicted_set, split
from minihs.rooms.resolution.ordering import mainline_ordering, reverse_topological_power_ordering
from minihs.rooms.state_map import StateMap

__all__ = ["MissingEvents", "resolve"]


def resolve(
    forks: Sequence[Mapping[StateKey, EventID]],
    events: Mapping[EventID, Event],
    version: RoomVersion,
    rejected: AbstractSet[EventID] = frozenset(),
) -> StateMap:
    """The resolution of the states `forks`, in whatever order they are given.

    `events` must hold the events in which the forks differ and their auth chains; `rejected` names those of
    them that were rejected. Raises `MissingEvents` with the ids to load before asking again: loading their
    auth chains along with them saves rounds.

    The events of keys on which the forks agree are asked for only where an answer depends on them: as state
    that a rule reads, and if some event is in the auth chain of one side only, to see if they cite it as
    well.
    """
    if not forks:
        return StateMap()
    states = [StateMap.of(fork) for fork in forks]
    unconflicted, conflicted_by_fork = split(states)
    if not any(conflicted_by_fork):
        return unconflicted

    graph = AuthGraph(events)
    conflicted = full_conflicted_set(unconflicted, conflicted_by_fork, graph, version)
    _require_judging_state(conflicted, unconflicted, graph)

    # 1. Power events, with what they rest on, in reverse topological power ordering.
    power_events = {event_id for event_id in conflicted if is_power_event(graph[event_id])}
    power_events |= graph.conflicted_chain_of(power_events, conflicted)
    ordered = reverse_topological_power_ordering(power_events, graph)

    # 2. Judge them one by one: from the unconflicted state map, in v2.1 from an empty one.
    start = StateMap() if version.state_resolution_2_1 else unconflicted
    partial = iterative_auth_checks(start, ordered, graph, version, rejected)

    # 3. The remaining events, by the mainline of the power levels reached so far.
    rest = mainline_ordering(conflicted - power_events, partial.get(POWER_LEVELS), graph)

    # 4. Judge those one by one.
    resolved = iterative_auth_checks(partial, rest, graph, version, rejected)

    # 5. Where the forks agree, their agreement stands.
    return unconflicted.update(
        (key, event_id)
        for key in sorted({graph[event_id].key for event_id in conflicted})
        if key not in unconflicted and (event_id := resolved.get(key)) is not None
    )


def is_power_event(event: Event) -> bool:
    """Whether `event` may take away someone's ability to do something ("Power events")."""
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return event.is_state
    return (
        event.type == "m.room.member"
        and event.membership in ("leave", "ban")
        and event.is_state
        and event.sender != event.state_key
    )


def iterative_auth_checks(
    state: StateMap,
    event_ids: Iterable[EventID],
    graph: AuthGraph,
    version: RoomVersion,
    rejected: AbstractSet[EventID],
) -> StateMap:
    """The state after applying each event in turn that the auth rules allow; the others are passed over.

    Where the state lacks a key that the rules need, the event's own auth event stands in, unless it was
    rejected: auth events are not judged again here ("Iterative auth checks", "Rejected events"). That
    `event_ids` may name rejected events is intended.
    """
    for event_id in event_ids:
        event = graph[event_id]
        basis = {
            auth_event.key: auth_event
            for auth_id in authorising_ids(event)
            if auth_id not in rejected and (auth_event := graph[auth_id]).is_state
        }
        for key in _needed_state(event):
            if (current := state.get(key)) is not None:
                basis[key] = graph[current]
        if isinstance(authorise(event, basis, version), Allowed):
            state = state.set(event.key, event_id)
    return state


def _require_judging_state(
    conflicted: AbstractSet[EventID], unconflicted: StateMap, graph: AuthGraph
) -> None:
    """Ask in one go for all unconflicted state that judging could read, rather than event by event."""
    graph.require(
        current
        for event_id in conflicted
        for key in _needed_state(graph[event_id])
        if (current := unconflicted.get(key)) is not None
    )


def _needed_state(event: Event) -> tuple[StateKey, ...]:
    return needed_state(event.type, event.sender, event.state_key, event.content, event.version)
