"""State resolution against Synapse's: thousands of random rooms of all versions must resolve alike.

A seed whose rooms once resolved differently is kept in `KEPT`; MINIHS_SEED tries another.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from minihs.events.event import Event
from minihs.events.ids import EventID
from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.resolution import is_power_event, resolve
from tests.rooms.random_rooms import random_room, with_real_ids

SYNAPSE_PYTHON = Path(__file__).parents[2] / ".venvs" / "synapse" / "bin" / "python"
ROOMS = 500
KEPT: tuple[str, ...] = ()
SEEDS = (*KEPT, os.environ.get("MINIHS_SEED", "first"))


def difficulty(
    forks: list[dict[Any, EventID]], events: dict[EventID, Event], resolved: dict[Any, EventID]
) -> set[str]:
    """What makes a case more than the choice of the newer of two events."""
    keys = {key for fork in forks for key in fork}
    conflicting = [key for key in keys if len({fork.get(key) for fork in forks}) > 1]
    found: set[str] = set()
    if conflicting:
        found.add("conflict")
    for key in conflicting:
        candidates = [events[fork[key]] for fork in forks if key in fork]
        if any(is_power_event(event) for event in candidates):
            found.add("power events in conflict")
        if key == ("m.room.power_levels", ""):
            found.add("power levels in conflict")
        winner = resolved.get(key)
        newest = max(candidates, key=lambda event: (event.origin_server_ts, event.event_id))
        if winner is None:
            found.add("nothing was allowed")
        elif winner not in {event.event_id for event in candidates}:
            found.add("an event that no fork held came back")
        elif winner != newest.event_id:
            found.add("the newest did not win")
    return found


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_random_rooms_resolve_as_in_synapse(version: str, seed: str) -> None:
    if not SYNAPSE_PYTHON.exists():
        pytest.skip("Synapse is not installed: scripts/interop-environment synapse")
    random = Random(f"rooms of version {version}, {seed}")
    cases, answers = [], []
    seen: Counter[str] = Counter()
    for _ in range(ROOMS):
        room, branches = random_room(random, version)
        chosen = [random.choice(branches) for _ in range(random.randint(2, 4))]
        real = with_real_ids(room)
        forks = [{key: real[name].event_id for key, name in branch.state.items()} for branch in chosen]
        events: dict[EventID, Event] = {event.event_id: event for event in real.values()}
        cases.append(
            {
                "version": version,
                "events": [event.pdu for event in real.values()],
                "forks": [[[*key, event_id] for key, event_id in fork.items()] for fork in forks],
            }
        )
        resolved = dict(resolve(forks, events, room.version))
        seen.update(difficulty(forks, events, resolved))
        answers.append(sorted([*key, event_id] for key, event_id in resolved.items()))
    program = Path(__file__).with_name("synapse_resolve.py")
    done = subprocess.run(
        [SYNAPSE_PYTHON, program], input=json.dumps(cases).encode(), stdout=subprocess.PIPE, check=True
    )
    theirs = json.loads(done.stdout)
    different = [number for number in range(ROOMS) if theirs[number] != answers[number]]
    assert not different, f"version {version}, seed {seed!r}: rooms {different}"
    # The rooms are worth the trouble.
    assert seen["conflict"] > ROOMS * 0.7, seen
    for kind in ("power events in conflict", "power levels in conflict", "the newest did not win"):
        assert seen[kind] > ROOMS * 0.1, (kind, seen)
    assert seen["nothing was allowed"] > ROOMS * 0.02, seen
