"""Runs in Synapse's environment: asks Synapse's auth rules about the events on standard input.

Input: a JSON list of rooms, {"version", "events": PDUs, "questions": [{"event": PDU, "state": [IDs],
"rejected": [IDs]}…]}. Output: for each question [by the events it cites, by the state], each "allowed",
"refused" or what went wrong, because Synapse reads some values before it has looked at their type.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from synapse.api.errors import SynapseError
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.event_auth import check_state_dependent_auth_rules, check_state_independent_auth_rules
from synapse.events import make_event_from_dict


class Store:
    def __init__(self, events: dict[str, Any]) -> None:
        self.events = events

    async def get_events(self, event_ids: Any, **_: Any) -> dict[str, Any]:
        return {event_id: self.events[event_id] for event_id in event_ids}


async def answer(question: dict[str, Any], version: Any, events: dict[str, Any]) -> list[str]:
    event = make_event_from_dict(question["event"], version)
    store = Store(
        {
            event_id: make_event_from_dict(
                known.get_dict(), version, rejected_reason="so" if event_id in question["rejected"] else None
            )
            for event_id, known in events.items()
            if event_id in event.auth_event_ids()
        }
    )
    cites, may = "allowed", "allowed"
    try:
        await check_state_independent_auth_rules(store, event)
    except SynapseError:
        cites = "refused"
    try:
        check_state_dependent_auth_rules(event, [events[event_id] for event_id in question["state"]])
    except SynapseError:
        may = "refused"
    except (AttributeError, TypeError, ValueError) as error:
        may = repr(error)
    return [cites, may]


async def answers(room: dict[str, Any]) -> list[list[str]]:
    version = KNOWN_ROOM_VERSIONS[room["version"]]
    made = [make_event_from_dict(pdu, version) for pdu in room["events"]]
    events = {event.event_id: event for event in made}
    return [await answer(question, version, events) for question in room["questions"]]


if __name__ == "__main__":
    json.dump([asyncio.run(answers(room)) for room in json.load(sys.stdin)], sys.stdout)
