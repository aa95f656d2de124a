"""State resolution once more, as slowly and literally as the text allows, to hold the real one against.

Whole auth chains, sets compared pairwise, paths enumerated, orders found by searching for the smallest:
nothing is shared with `minihs.rooms.resolution` but the auth rules and the power levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.events.versions import RoomVersion
from minihs.rooms.auth import Allowed, authorise, needed_state

State = dict[StateKey, EventID]


class Reference:
    def __init__(self, events: Mapping[EventID, Event], version: RoomVersion) -> None:
        self.events = events
        self.version = version
        self.chains: dict[EventID, set[EventID]] = {}

    def parents(self, event_id: EventID) -> set[EventID]:
        event = self.events[event_id]
        parents = set(event.auth_events)
        if self.version.room_id_is_create_hash and event.type != "m.room.create":
            parents.add(EventID("$" + event.room_id[1:]))
        return parents

    def chain(self, event_id: EventID) -> set[EventID]:
        if event_id not in self.chains:
            parents = self.parents(event_id)
            self.chains[event_id] = parents.union(*(self.chain(parent) for parent in parents))
        return self.chains[event_id]

    def chain_inside(self, event_id: EventID, inside: set[EventID]) -> set[EventID]:
        """The auth chain as far as it can be walked without leaving a set (see docs/decisions)."""
        parents = self.parents(event_id) & inside
        return parents.union(*(self.chain_inside(parent, inside) for parent in parents))

    def resolve(self, forks: Sequence[Mapping[StateKey, EventID]]) -> State:
        keys = {key for fork in forks for key in fork}
        agreed = {key for key in keys if len({fork.get(key) for fork in forks}) == 1}
        unconflicted: State = {key: forks[0][key] for key in agreed}
        conflicted = {fork[key] for key in keys - agreed for fork in forks if key in fork}

        full_chains = [
            set(fork.values()).union(*(self.chain(event_id) for event_id in fork.values())) for fork in forks
        ]
        full = conflicted | (set.union(*full_chains) - set.intersection(*full_chains))
        if self.version.state_resolution_2_1:
            full |= {
                between
                for start in conflicted
                for between in self.chain(start)
                if self.chain(between) & conflicted
            }

        power_events = {event_id for event_id in full if self.is_power_event(event_id)}
        power_events |= {other for event_id in power_events for other in self.chain_inside(event_id, full)}
        partial = self.iterate(
            {} if self.version.state_resolution_2_1 else unconflicted, self.by_power(power_events)
        )
        rest = self.by_mainline(full - power_events, partial.get(("m.room.power_levels", "")))
        return self.iterate(partial, rest) | unconflicted

    def is_power_event(self, event_id: EventID) -> bool:
        event = self.events[event_id]
        if event.type == "m.room.member":
            return event.membership in {"leave", "ban"} and event.sender != event.state_key
        return event.type in {"m.room.power_levels", "m.room.join_rules"}

    def by_power(self, event_ids: set[EventID]) -> list[EventID]:
        ordered: list[EventID] = []
        while len(ordered) < len(event_ids):
            free = [
                event_id
                for event_id in event_ids - set(ordered)
                if self.parents(event_id) & event_ids <= set(ordered)
            ]
            ordered.append(min(free, key=self.power_rank))
        return ordered

    def power_rank(self, event_id: EventID) -> tuple[float, int, EventID]:
        event = self.events[event_id]
        cited = {self.events[parent].type: self.events[parent] for parent in self.parents(event_id)}
        create, levels = cited.get("m.room.create"), cited.get("m.room.power_levels")
        creator = event if event.type == "m.room.create" else create
        assert creator is not None
        if self.version.privileged_creators and event.sender == creator.sender:
            power = math.inf
        elif levels is not None:
            power = levels.content.get("users", {}).get(event.sender, levels.content.get("users_default", 0))
        else:
            power = 100 if event.sender == creator.sender else 0
        return (-power, event.origin_server_ts, event_id)

    def levels_behind(self, event_id: EventID) -> list[EventID]:
        for parent in self.events[event_id].auth_events:
            if self.events[parent].type == "m.room.power_levels":
                return [parent, *self.levels_behind(parent)]
        return []

    def by_mainline(self, event_ids: set[EventID], levels: EventID | None) -> list[EventID]:
        mainline = [levels, *self.levels_behind(levels)] if levels is not None else []

        def rank(event_id: EventID) -> tuple[float, int, EventID]:
            positions = [mainline.index(other) for other in self.levels_behind(event_id) if other in mainline]
            return (
                -(positions[0] if positions else math.inf),
                self.events[event_id].origin_server_ts,
                event_id,
            )

        return sorted(event_ids, key=rank)

    def iterate(self, state: State, event_ids: Sequence[EventID]) -> State:
        state = dict(state)
        for event_id in event_ids:
            event = self.events[event_id]
            basis = {self.events[parent].key: self.events[parent] for parent in self.parents(event_id)}
            for key in needed_state(event.type, event.sender, event.state_key, event.content, event.version):
                if key in state:
                    basis[key] = self.events[state[key]]
            if isinstance(authorise(event, basis, self.version), Allowed):
                state[event.key] = event_id
        return state
