"""Builders of futures and groups for tests."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import RoomID, UserID
from minihs.futures.commands import Schedule
from minihs.futures.engine import step
from minihs.futures.model import CancelRule, Future, FutureGroup, FutureID, GroupID, Millis, Now

ALICE = UserID("@alice:hs1")
BOB = UserID("@bob:hs2")
ROOM = RoomID("!room:hs1")
START = Now(Millis(1_000), 50_000)


def at(steady_ms: int) -> Now:
    """The present so many milliseconds after START, on both clocks."""
    return Now(Millis(START.steady + steady_ms), START.wall + steady_ms)


def future(number: int = 1, **changes: Any) -> Future:
    """A timeout future of Alice for a message, due 10 s after it is scheduled."""
    fields: dict[str, Any] = {
        "id": FutureID(number),
        "delay_id": f"delay-{number}",
        "owner": ALICE,
        "room_id": ROOM,
        "type": "m.room.message",
        "state_key": None,
        "timeout_ms": 10_000,
        "started_ms": Millis(0),
        "since_ts": 0,
        "cancel_rule": CancelRule.NEVER,
        "dialect": "merged",
        "reveals_id": True,
        **changes,
    }
    return Future(**fields)


def call_leave(number: int = 1, **changes: Any) -> Future:
    """A timeout future of Alice for her state in a call, which any newer state ends."""
    fields: dict[str, Any] = {"type": "m.call.member", "state_key": ALICE, "cancel_rule": CancelRule.ANY}
    return future(number, **{**fields, **changes})


def group_of(*futures: Future, owner: UserID = ALICE, name: str | None = None) -> FutureGroup:
    """A group with these futures, scheduled at START."""
    empty = FutureGroup(GroupID(futures[0].id), owner, name)
    group, _ = step(empty, Schedule(futures), START)
    assert group.members, "the group was refused"
    return group
