"""Runs in Synapse's environment: resolves the cases on standard input with Synapse's own algorithm.

Input and output are JSON lists, one entry per case: {"version", "events": PDUs, "forks": [[[type, key,
id]…]…]} gives [[type, key, id]…]. Auth chains are walked here, because Synapse leaves that to its database.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import synapse.event_auth  # noqa: F401 - importing synapse.state first fails on a circle
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.events import make_event_from_dict
from synapse.state.v2 import resolve_events_with_store
from synapse.storage.databases.main.event_federation import StateDifference


class Clock:
    async def sleep(self, duration: Any) -> None:
        """Nothing else runs here."""


class Store:
    """All events of one room in memory."""

    def __init__(self, events: dict[str, Any]) -> None:
        self.events = events
        self.chains: dict[str, set[str]] = {}

    async def get_events(self, event_ids: Any, allow_rejected: bool = False) -> dict[str, Any]:
        return {event_id: self.events[event_id] for event_id in event_ids}

    async def get_auth_chain_difference(
        self, room_id: str, state_sets: list[set[str]], conflicted: set[str] | None, more: Any
    ) -> StateDifference:
        full = [set(state).union(*(self.chain(event_id) for event_id in state)) for state in state_sets]
        subgraph = {
            between
            for event_id in conflicted or ()
            for between in self.chain(event_id)
            if self.chain(between) & conflicted
        }
        return StateDifference(set.union(*full) - set.intersection(*full), subgraph | (conflicted or set()))

    def chain(self, event_id: str) -> set[str]:
        if event_id not in self.chains:
            parents = set(self.events[event_id].auth_event_ids())
            self.chains[event_id] = parents.union(*(self.chain(parent) for parent in parents))
        return self.chains[event_id]


async def resolve(case: dict[str, Any]) -> list[list[str]]:
    version = KNOWN_ROOM_VERSIONS[case["version"]]
    made = [make_event_from_dict(pdu, version) for pdu in case["events"]]
    events = {event.event_id: event for event in made}
    forks = [{(kind, key): event_id for kind, key, event_id in fork} for fork in case["forks"]]
    state = await resolve_events_with_store(
        Clock(), made[0].room_id, version, forks, dict(events), Store(events)
    )
    return sorted([kind, key, event_id] for (kind, key), event_id in state.items())


if __name__ == "__main__":
    json.dump([asyncio.run(resolve(case)) for case in json.load(sys.stdin)], sys.stdout)
