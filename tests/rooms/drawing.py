"""Small drawn graphs: events with names for IDs, on branches that grow one event at a time.

room = Drawing("12")
base = room.begin()                                     # $create, $alice, $power, $rules
left = base.then("$topic", ALICE, *topic("left"))
right = base.then("$ban", ALICE, *ban(BOB))
room.resolve(left, right)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from minihs.events.event import Event, trusted_event
from minihs.events.ids import EventID, UserID
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import needed_state
from minihs.rooms.resolution import resolve
from minihs.rooms.state_map import StateMap

ALICE, BOB, CAROL, DAVE, MALLORY = (
    UserID(f"@{name}:hs1") for name in ("alice", "bob", "carol", "dave", "mallory")
)
POWER = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")
TOPIC = ("m.room.topic", "")

Body = tuple[str, str, dict[str, Any]]
"""Type, state key and content of a state event."""


def member_key(user_id: str) -> tuple[str, str]:
    return ("m.room.member", user_id)


def member(user_id: str, membership: str, **content: Any) -> Body:
    return ("m.room.member", user_id, {"membership": membership, **content})


def ban(user_id: str) -> Body:
    return member(user_id, "ban")


def join(user_id: str, **content: Any) -> Body:
    return member(user_id, "join", **content)


def topic(text: str) -> Body:
    return ("m.room.topic", "", {"topic": text})


def join_rule(rule: str) -> Body:
    return ("m.room.join_rules", "", {"join_rule": rule})


def power(users: Mapping[str, int], **levels: Any) -> Body:
    return ("m.room.power_levels", "", {"users": dict(users), **levels})


class Drawing:
    """One room: every event that was drawn, by its name."""

    def __init__(self, version: str) -> None:
        self.version: RoomVersion = ROOM_VERSIONS[version]
        self.events: dict[EventID, Event] = {}
        self.rejected: set[EventID] = set()

    def add(
        self,
        name: str,
        sender: str,
        event_type: str,
        state_key: str | None,
        content: Mapping[str, Any],
        *,
        prev: Sequence[str] = (),
        auth: Sequence[str] = (),
        at: int = 0,
    ) -> Event:
        assert name not in self.events, f"{name} is drawn twice"
        pdu: dict[str, Any] = {
            "type": event_type,
            "sender": sender,
            "content": dict(content),
            "origin_server_ts": at,
            "depth": 1 + max((self.events[EventID(prev_id)].depth for prev_id in prev), default=0),
            "prev_events": list(prev),
            "auth_events": list(auth),
            "hashes": {},
            "signatures": {},
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        if not (event_type == "m.room.create" and self.version.room_id_is_create_hash):
            pdu["room_id"] = "!create" if self.version.room_id_is_create_hash else "!room:hs1"
        event = trusted_event(pdu, self.version, EventID(name))
        self.events[event.event_id] = event
        return event

    def begin(self, levels: Body | None = None, rule: str = "public") -> Branch:
        """Alice makes the room, and sets power levels (50 for the state, unless given) and join rules."""
        creator = {"creator": ALICE} if self.version.creator_in_content else {}
        if levels is None:
            levels = power({} if self.version.privileged_creators else {ALICE: 100})
        return (
            Branch(self)
            .then("$create", ALICE, "m.room.create", "", {"room_version": self.version.id, **creator}, at=1)
            .then("$alice", ALICE, *join(ALICE), at=2)
            .then("$power", ALICE, *levels, at=3)
            .then("$rules", ALICE, *join_rule(rule), at=4)
        )

    def resolve(self, *branches: Branch | StateMap) -> StateMap:
        """The resolution of the branches' states, after checking that it is the same in every order."""
        states = [branch.state if isinstance(branch, Branch) else branch for branch in branches]
        answers = {
            resolve(order, self.events, self.version, frozenset(self.rejected))
            for order in permutations(states)
        }
        assert len(answers) == 1, "the order of the forks changed the answer"
        answer = answers.pop()
        again = resolve([*states, states[0]], self.events, self.version, frozenset(self.rejected))
        assert again == answer, "a state that is there twice changed the answer"
        assert resolve([answer, answer], self.events, self.version) == answer
        return answer


@dataclass(frozen=True)
class Branch:
    """The state and the tip at the end of one line of events."""

    room: Drawing
    state: StateMap = field(default_factory=StateMap)
    tip: tuple[str, ...] = ()

    def then(
        self,
        name: str,
        sender: str,
        event_type: str,
        state_key: str | None,
        content: Mapping[str, Any],
        *,
        at: int | None = None,
        auth: Sequence[str] | None = None,
    ) -> Branch:
        """The branch with one more event, citing what the state gives it unless `auth` says otherwise."""
        if auth is None:
            needed = needed_state(event_type, UserID(sender), state_key, content, self.room.version)
            auth = [self.state[key] for key in needed if key in self.state]
        stamp = 10 * len(self.room.events) if at is None else at
        event = self.room.add(
            name, sender, event_type, state_key, content, prev=self.tip, auth=auth, at=stamp
        )
        state = self.state.set(event.key, event.event_id) if event.is_state else self.state
        return Branch(self.room, state, (name,))
