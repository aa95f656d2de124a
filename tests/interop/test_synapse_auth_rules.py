"""The auth rules against Synapse's: thousands of random events on random states must fare alike.

Each is asked about twice: by the events that it cites (rule 3) and by a state (all others). A seed whose
rooms once gave different answers is kept in `KEPT`; MINIHS_SEED tries another.
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

from minihs.events.event import Event, trusted_event
from minihs.events.hashes import event_id_of
from minihs.events.ids import EventID
from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.auth import Allowed, Refused, authorise, check_auth_events, needed_state
from minihs.rooms.power import CREATE
from tests.rooms.drawing import Body, Drawing
from tests.rooms.random_rooms import (
    LEVELS,
    likely_sender,
    random_body,
    random_level,
    random_room,
    with_real_ids,
)

SYNAPSE_PYTHON = Path(__file__).parents[2] / ".venvs" / "synapse" / "bin" / "python"
ROOMS = 100
QUESTIONS = 40
KEPT: tuple[str, ...] = ()
SEEDS = (*KEPT, os.environ.get("MINIHS_SEED", "first"))


def odd_body(random: Random, room: Drawing) -> Body:
    """A state event with something in it that rules must refuse, or read with care."""
    event_type, state_key, content = random_body(random, room.version)
    if event_type == "m.room.power_levels":
        name = random.choice([*LEVELS, "users", "events", "notifications"])
        odd = random.choice([None, [], {}, "x", "", True, {"@alice:hs1": "x"}, {"alice": 5}, -1, 10**15])
        content[name] = odd if random.random() < 0.5 else random_level(random, room.version)
    elif event_type == "m.room.member" and random.random() < 0.5:
        content["membership"] = random.choice(["", "JOIN", "banned", "knock"])
    elif event_type == "m.room.topic":
        state_key = random.choice(["", "@bob:hs1", "@carol:hs2", "bob"])
    elif event_type == "m.room.join_rules":
        content["join_rule"] = random.choice(["", "PUBLIC", None, "private"])
    return event_type, state_key, content


def question(random: Random, room: Drawing, real: dict[str, Event], state: dict[Any, str]) -> dict[str, Any]:
    """An event that cites mostly what it should, the state that it is judged by, and what was rejected."""
    body = odd_body(random, room) if random.random() < 0.3 else random_body(random, room.version)
    sender = likely_sender(random, body)
    event_type, state_key, content = body
    is_state = random.random() < 0.9
    if not is_state:
        event_type, content = random.choice(["m.room.message", "m.room.redaction", "m.room.topic"]), {}
    needed = needed_state(event_type, sender, state_key if is_state else None, content, room.version)
    cited = [state[key] for key in needed if key in state and key != CREATE]
    if room.version.create_in_auth_events:
        cited.insert(0, "$create")
    match random.choices(["as it should", "one more", "one less", "one twice"], [85, 7, 5, 3])[0]:
        case "one more":
            cited.append(random.choice([name for name in room.events if name != "$create"]))
        case "one less" if cited:
            cited.remove(random.choice(cited))
        case "one twice" if cited:
            cited.append(random.choice(cited))
    pdu: dict[str, Any] = {
        "type": event_type,
        "room_id": real["$create"].room_id,
        "sender": sender,
        "content": content,
        "origin_server_ts": 7,
        "depth": 50,
        "prev_events": [real[random.choice(["$create", *room.events])].event_id],
        "auth_events": [real[name].event_id for name in cited],
        "hashes": {"sha256": "?"},
        "signatures": {"hs1": {"ed25519:1": "A"}, "hs2": {"ed25519:1": "A"}},
    }
    if is_state:
        pdu["state_key"] = state_key
    rejected = [real[name].event_id for name in cited if name != "$create" and random.random() < 0.02]
    return {
        "event": pdu,
        "state": [real[name].event_id for name in state.values()],
        "rejected": rejected,
    }


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_random_events_are_allowed_and_refused_as_in_synapse(version: str, seed: str) -> None:
    if not SYNAPSE_PYTHON.exists():
        pytest.skip("Synapse is not installed: scripts/interop-environment synapse")
    random = Random(f"auth rules of version {version}, {seed}")
    rules = ROOM_VERSIONS[version]
    rooms: list[dict[str, Any]] = []
    ours: list[list[tuple[Allowed | Refused, ...]]] = []
    seen: Counter[str] = Counter()
    for _ in range(ROOMS):
        room, branches = random_room(random, version)
        real = with_real_ids(room)
        events = {event.event_id: event for event in real.values()}
        asked, answers = [], []
        for _ in range(QUESTIONS):
            one = question(random, room, real, dict(random.choice(branches).state))
            asked.append(one)
            event = trusted_event(one["event"], rules, event_id_of(one["event"], rules))
            cited = [events[EventID(event_id)] for event_id in event.auth_events]
            verdicts = (
                check_auth_events(event, cited, rules, frozenset(one["rejected"])),
                authorise(event, {events[known].key: events[known] for known in one["state"]}, rules),
            )
            seen.update(verdict.rule for verdict in verdicts)
            answers.append(verdicts)
        rooms.append(
            {"version": version, "events": [event.pdu for event in real.values()], "questions": asked}
        )
        ours.append(answers)
    program = Path(__file__).with_name("synapse_authorise.py")
    done = subprocess.run(
        [SYNAPSE_PYTHON, program], input=json.dumps(rooms).encode(), stdout=subprocess.PIPE, check=True
    )
    theirs = json.loads(done.stdout)
    outcomes: Counter[str] = Counter()
    different = []
    for room, our_answers, their_answers in zip(rooms, ours, theirs, strict=True):
        for asked_about, here, there in zip(room["questions"], our_answers, their_answers, strict=True):
            for verdict, answer in zip(here, there, strict=True):
                outcomes[answer if answer in ("allowed", "refused") else "no answer"] += 1
                ours_is = "allowed" if isinstance(verdict, Allowed) else "refused"
                if answer in ("allowed", "refused") and answer != ours_is:
                    different.append((verdict, asked_about["event"]))
    assert not different, f"{len(different)} of version {version}, seed {seed!r}: {different[:3]}"
    # The questions are worth asking: most rules decide some of them, and both answers are frequent.
    assert len(seen) >= 25, seen
    assert outcomes["no answer"] < 0.02 * outcomes.total()
    assert 0.2 * outcomes.total() < outcomes["refused"] < 0.7 * outcomes.total()
