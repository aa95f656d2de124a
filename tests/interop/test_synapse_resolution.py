"""State resolution against Synapse's: a thousand random rooms of each algorithm must resolve alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from minihs.events.event import Event, trusted_event
from minihs.events.hashes import event_id_of
from minihs.events.ids import EventID
from minihs.rooms.resolution import resolve
from tests.rooms.drawing import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    Body,
    Branch,
    Drawing,
    join_rule,
    member,
    power,
    topic,
)

SYNAPSE_PYTHON = Path(__file__).parents[2] / ".venvs" / "synapse" / "bin" / "python"
PEOPLE = (ALICE, BOB, CAROL, DAVE)
ROOMS = 1_000


def random_body(random: Random, room: Drawing) -> Body:
    own = {} if room.version.privileged_creators else {ALICE: 100}
    match random.choices(["member", "rules", "power", "topic"], [45, 15, 20, 20])[0]:
        case "member":
            return member(random.choice(PEOPLE), random.choice(["join", "join", "leave", "ban", "invite"]))
        case "rules":
            return join_rule(random.choice(["public", "invite"]))
        case "power":
            some = random.sample(PEOPLE[1:], random.randint(0, 3))
            return power(own | {user: random.choice([0, 50, 100]) for user in some})
        case _:
            return topic("x")


def random_forks(random: Random, version: str) -> tuple[Drawing, list[Branch]]:
    """A room in which things happen on several branches at badly kept times, and some of its states."""
    room = Drawing(version)
    branches = [room.begin()]
    for number in range(random.randint(3, 18)):
        parents = [random.choice(branches[-5:]) for _ in range(random.choice([1, 1, 1, 2]))]
        state = resolve([parent.state for parent in parents], room.events, room.version)
        event_type, state_key, content = random_body(random, room)
        sender = random.choice((ALICE, *PEOPLE))
        if content.get("membership") == "join":
            sender = next(user for user in PEOPLE if user == state_key)
        tips = tuple(tip for parent in parents for tip in parent.tip)
        branch = Branch(room, state, tips).then(
            f"${number}", sender, event_type, state_key, content, at=random.randint(1, 6)
        )
        branches.append(branch)
    return room, [random.choice(branches) for _ in range(random.randint(2, 4))]


def with_real_ids(room: Drawing) -> dict[str, Event]:
    """The drawn events by name, with the IDs that their hashes give them."""
    real: dict[str, Event] = {}
    for name, event in room.events.items():
        pdu: dict[str, Any] = {
            **event.pdu,
            "prev_events": [real[prev].event_id for prev in event.prev_events],
            "auth_events": [real[cited].event_id for cited in event.auth_events],
            "hashes": {"sha256": name},
        }
        if "room_id" in pdu and room.version.room_id_is_create_hash:
            pdu["room_id"] = real["$create"].room_id
        real[name] = trusted_event(pdu, room.version, event_id_of(pdu, room.version))
    return real


@pytest.mark.full
@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_random_rooms_resolve_as_in_synapse(version: str) -> None:
    if not SYNAPSE_PYTHON.exists():
        pytest.skip("Synapse is not installed: scripts/interop-environment synapse")
    random = Random(f"rooms of version {version}")
    cases, answers = [], []
    for _ in range(ROOMS):
        room, branches = random_forks(random, version)
        real = with_real_ids(room)
        forks = [{key: real[name].event_id for key, name in branch.state.items()} for branch in branches]
        events: dict[EventID, Event] = {event.event_id: event for event in real.values()}
        cases.append(
            {
                "version": version,
                "events": [event.pdu for event in real.values()],
                "forks": [[[*key, event_id] for key, event_id in fork.items()] for fork in forks],
            }
        )
        answers.append([[*key, event_id] for key, event_id in resolve(forks, events, room.version).items()])
    program = Path(__file__).with_name("synapse_resolve.py")
    done = subprocess.run(
        [SYNAPSE_PYTHON, program], input=json.dumps(cases).encode(), capture_output=True, check=True
    )
    theirs = json.loads(done.stdout)
    different = [number for number in range(ROOMS) if theirs[number] != answers[number]]
    assert not different
