"""Pairs of events for the auth rules: one that passes and one that a rule refuses, differing in one thing.

`rule_case` turns a function that returns such a pair into a test for every room version that has the rule,
and notes which rules have a pair, so that a rule without one fails the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import pytest

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import Allowed, Refused, authorise, check_auth_events
from tests.support.events import RoomBuilder

ALICE = "@alice:hs1"
"""The creator: level 100, infinite since v12."""
BOB = "@bob:hs2"
"""Joined, level 50."""
CAROL = "@carol:hs1"
"""Joined, level 0."""
DAVE = "@dave:hs2"
"""Not in the room."""

COVERED: set[str] = set()
"""The rules that have a pair."""

_FIELDS = ("type", "sender", "state_key", "content", "room_id", "prev_events")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One question to the rules: an event on a state, or an event with what it cites."""

    event: Event
    state: Mapping[StateKey, Event] | None = None
    cited: Sequence[Event] | None = None
    rejected: frozenset[EventID] = frozenset()

    def verdict(self, version: RoomVersion) -> Allowed | Refused:
        if self.cited is not None:
            return check_auth_events(self.event, self.cited, version, self.rejected)
        assert self.state is not None
        return authorise(self.event, self.state, version)

    def facts(self) -> dict[object, object]:
        facts: dict[object, object] = {name: self.event.pdu.get(name) for name in _FIELDS}
        facts.update({key: event.event_id for key, event in (self.state or {}).items()})
        facts["cited"] = None if self.cited is None else [event.event_id for event in self.cited]
        facts["rejected"] = self.rejected
        return facts


@dataclass(frozen=True, kw_only=True)
class Pair:
    accepted: Trial
    refused: Trial


def on(room: RoomBuilder, accepted: Event, refused: Event) -> Pair:
    """Two events on the same state."""
    state = dict(room.state)
    return Pair(accepted=Trial(event=accepted, state=state), refused=Trial(event=refused, state=state))


def between(event: Event, accepting: Mapping[StateKey, Event], refusing: Mapping[StateKey, Event]) -> Pair:
    """One event on two states."""
    return Pair(accepted=Trial(event=event, state=accepting), refused=Trial(event=event, state=refusing))


def differences(one: Trial, other: Trial) -> set[object]:
    left, right = one.facts(), other.facts()
    return {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}


def versions_between(since: int, until: int) -> list[RoomVersion]:
    return [version for version in ROOM_VERSIONS.values() if since <= int(version.id) <= until]


def rule_case(
    *, refused_by: str, allowed_by: str | None = None, since: int = 3, until: int = 12
) -> Callable[[Callable[[RoomVersion], Pair]], Callable[[RoomVersion], None]]:
    """A test, once per version, that a pair gets these verdicts by these rules and differs in one thing."""
    COVERED.update(rule for rule in (refused_by, allowed_by) if rule is not None)

    def decorate(make_pair: Callable[[RoomVersion], Pair]) -> Callable[[RoomVersion], None]:
        @wraps(make_pair)
        def test(version: RoomVersion) -> None:
            pair = make_pair(version)
            accepted = pair.accepted.verdict(version)
            refused = pair.refused.verdict(version)
            assert isinstance(accepted, Allowed), accepted
            assert allowed_by in (None, accepted.rule)
            assert isinstance(refused, Refused), refused
            assert refused.rule == refused_by, refused
            assert refused.reason
            assert len(differences(pair.accepted, pair.refused)) == 1

        del test.__wrapped__  # pytest would read its signature
        versions = versions_between(since, until)
        return pytest.mark.parametrize("version", versions, ids=[f"v{row.id}" for row in versions])(test)

    return decorate


def levels(version: RoomVersion, users: Mapping[str, Any] | None = None, **named: Any) -> dict[str, Any]:
    """The content of a power-levels event: Alice 100 where creators may be listed, Bob 50, and `users`."""
    listed = {} if version.privileged_creators else {ALICE: 100}
    return {"users": {**listed, BOB: 50, **(users or {})}, **named}


def a_room(version: RoomVersion, *, join_rule: str | None = "public", **named: Any) -> RoomBuilder:
    """A room of Alice's, with Bob and Carol joined; `named` goes into the power levels."""
    room = RoomBuilder.create(
        ALICE, version=version.id, join_rule=join_rule, power_levels=levels(version, **named)
    )
    room.join(BOB)
    room.join(CAROL)
    return room
