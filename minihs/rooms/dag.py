"""Walks over a room's two graphs: `prev_events` (what came before) and `auth_events` (what gave the right).

Loads nothing: a walk either gets a lookup, or says which events it wants next. No walk recurses, so no
chain is too long. Answers to the "PDUs" and "Definitions" sections of the server-server API and of the room
versions.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID
from minihs.events.versions import RoomVersion


class MissingEvents(LookupError):
    """The answer cannot be given without these events (sorted): load them and ask again."""

    def __init__(self, ids: Iterable[EventID]) -> None:
        self.ids = tuple(sorted(set(ids)))
        super().__init__(f"events that are needed to decide are missing: {', '.join(self.ids)}")


class Citing(Protocol):
    """What a walk along `auth_events` reads of an event."""

    @property
    def type(self) -> str: ...
    @property
    def room_id(self) -> RoomID: ...
    @property
    def auth_events(self) -> tuple[EventID, ...]: ...
    @property
    def version(self) -> RoomVersion: ...


Node = TypeVar("Node", bound=Citing)


def authorising_ids(event: Citing) -> tuple[EventID, ...]:
    """The events that gave `event` its right: its `auth_events`, and the create event where that is implied.

    From room version 12 on the room ID names the create event and `auth_events` leaves it out.
    """
    if event.version.create_in_auth_events or event.type == "m.room.create":
        return event.auth_events
    return (EventID("$" + event.room_id[1:]), *event.auth_events)


class AuthChainWalk(Generic[Node]):
    """Collects the auth chain of some events in as few rounds of loading as the graph allows.

        walk = AuthChainWalk(ids_of_their_auth_events)
        while wanted := walk.wanted():
            walk.feed(await store.events(wanted))
        walk.chain

    The starting events are part of the chain. Ids that the last round did not bring are in `absent`.
    """

    def __init__(self, start: Iterable[EventID]) -> None:
        self.chain: dict[EventID, Node] = {}
        self._seen: set[EventID] = set(start)
        self._wanted = self._seen.copy()
        self._absent: set[EventID] = set()

    def wanted(self) -> tuple[EventID, ...]:
        """The ids to load next, sorted; empty at the end of the walk."""
        return tuple(sorted(self._wanted))

    @property
    def absent(self) -> tuple[EventID, ...]:
        """Ids that were asked for and not fed, sorted."""
        return tuple(sorted(self._absent))

    def feed(self, events: Mapping[EventID, Node]) -> None:
        """Take what was loaded of `wanted()`; what is not in `events` counts as absent from now on."""
        asked, self._wanted = self._wanted, set()
        for event_id in asked:
            event = events.get(event_id)
            if event is None:
                self._absent.add(event_id)
                continue
            self.chain[event_id] = event
            self._wanted.update(authorising_ids(event))
        self._wanted -= self._seen
        self._seen |= self._wanted


def auth_chain(events: Iterable[Event], lookup: Callable[[EventID], Event | None]) -> dict[EventID, Event]:
    """The auth chains of `events` together, by id and sorted; the events themselves only where they belong.

    Raises `MissingEvents` with all ids at once that `lookup` did not know.
    """
    walk = AuthChainWalk[Event](parent for event in events for parent in authorising_ids(event))
    while wanted := walk.wanted():
        walk.feed({event_id: event for event_id in wanted if (event := lookup(event_id)) is not None})
    if walk.absent:
        raise MissingEvents(walk.absent)
    return dict(sorted(walk.chain.items()))


def parents_first(parents: Mapping[EventID, Sequence[EventID]]) -> Iterator[EventID]:
    """The keys of `parents`, each after those of its own parents that are keys, too.

    An iterator, so that a long order can be made in portions. The links must form no circle.
    """
    opened: set[EventID] = set()
    for start in parents:
        path = [(start, False)]
        while path:
            event_id, is_done = path.pop()
            if is_done:
                yield event_id
            elif event_id not in opened:
                opened.add(event_id)
                path.append((event_id, True))
                path.extend((parent, False) for parent in reversed(parents[event_id]) if parent in parents)


def prev_ids(event: Event) -> tuple[EventID, ...]:
    """The events that `event` directly follows."""
    return event.prev_events


def topological_order(
    events: Iterable[Event], parents: Callable[[Event], Iterable[EventID]] = prev_ids
) -> list[Event]:
    """The events with every parent before its children; links that lead out of the set are ignored.

    Where the graph leaves the order open, the smaller (depth, timestamp, id) comes first. Duplicates are
    dropped. Raises ValueError if the links form a circle, which ids that are hashes rule out.
    """
    by_id = {event.event_id: event for event in events}
    children: dict[EventID, list[EventID]] = {event_id: [] for event_id in by_id}
    waiting: dict[EventID, int] = {}
    ready: list[tuple[int, int, EventID]] = []
    for event_id, event in by_id.items():
        inside = {parent for parent in parents(event) if parent in by_id}
        waiting[event_id] = len(inside)
        for parent in inside:
            children[parent].append(event_id)
        if not inside:
            ready.append(_age(event))
    heapq.heapify(ready)
    ordered: list[Event] = []
    while ready:
        event_id = heapq.heappop(ready)[-1]
        ordered.append(by_id[event_id])
        for child in children[event_id]:
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, _age(by_id[child]))
    if len(ordered) < len(by_id):
        circle = sorted(event_id for event_id, left in waiting.items() if left)
        raise ValueError(f"the links of these events form a circle: {', '.join(circle)}")
    return ordered


def leading_to(event_ids: Iterable[EventID], among: Mapping[EventID, Event]) -> dict[EventID, Event]:
    """These events and what they follow, directly or not, as far as links within `among` lead."""
    found: dict[EventID, Event] = {}
    to_visit = list(event_ids)
    while to_visit:
        event = among.get(to_visit.pop())
        if event is not None and event.event_id not in found:
            found[event.event_id] = event
            to_visit.extend(event.prev_events)
    return found


def extremities_after(
    extremities: Iterable[EventID],
    event: Event,
    prevs_of_refused: Mapping[EventID, Iterable[EventID]] | None = None,
) -> tuple[EventID, ...]:
    """The forward extremities once `event` has been accepted: the event, then those that are left in order.

    The event takes the place of what it follows. `prevs_of_refused` maps every rejected or soft-failed
    event that `event` reaches through such events to its `prev_events`: those never became extremities, so
    what they follow is followed by `event` as well. A rejected or soft-failed event moves no extremities:
    do not ask for it (server-server API, "Rejection" and "Soft failure").
    """
    refused = prevs_of_refused or {}
    followed: set[EventID] = set()
    to_visit = list(event.prev_events)
    while to_visit:
        prev_id = to_visit.pop()
        if prev_id not in followed:
            followed.add(prev_id)
            to_visit.extend(refused.get(prev_id, ()))
    return (event.event_id, *(event_id for event_id in extremities if event_id not in followed))


def _age(event: Event) -> tuple[int, int, EventID]:
    return event.depth, event.origin_server_ts, event.event_id
