"""Changes of the rights of somebody whose future waits, and how each is made. Used by `auth_at_send_time`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from minihs.lab.evidence import Evidence, Watch
from minihs.lab.handles import Handle
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.world import World

NOTE = "org.example.note"
"""A state event of the experiment; sending it takes power 50."""


class Cell(msgspec.Struct):
    """One room: a change of rights under one authorisation, made in one way, in one version."""

    change: Change
    version: str
    room_id: str = ""
    target: str = ""
    handle: Handle | None = None
    outcome: str = ""
    event_id: str | None = None
    elsewhere: str = ""
    rule: str = ""
    agree: bool = False
    note: str = ""
    watch: Watch | None = None
    evidence: Evidence | None = None

    def say(self, text: str) -> None:
        """What no request tells of this room."""
        if self.watch is not None:
            self.watch.say(text)

    def text(self) -> str:
        """The cell in words."""
        parts = [self.outcome]
        if self.event_id is not None:
            parts.append(f"hs2: {self.elsewhere}" + (f" ({self.rule})" if self.rule else ""))
        if self.note:
            parts.append(self.note)
        if not self.agree:
            parts.append("THE SERVERS DISAGREE")
        return "; ".join(parts)


class Cast(msgspec.Struct):
    """The people of a world."""

    world: World
    sam: Client
    lee: Client
    remy: Client


Act = Callable[[Cast, Cell, Client], None]


class Change(msgspec.Struct, frozen=True):
    """What happens to Sam's rights. `before` is Sam's power at scheduling."""

    name: str
    act: Act
    before: int = 50
    forbids: bool = False
    """Whether Sam may not send the event afterwards."""
    too_early: bool = False
    """Whether Sam may not send it before."""
    kind: str = "state"
    prepare: Callable[[Cast, Cell], None] | None = None
    apart: Apart | None = None
    """How it is made on two sides of a partition, where `act` cannot be."""


class Apart(msgspec.Struct, frozen=True):
    """A change that takes Sam's own server: `before` the partition, and behind it `here` and `there`."""

    before: Callable[[Cast, Cell, str], None]
    here: Callable[[Cast, Cell, str], None]
    there: Callable[[Cast, Cell, str], None]


def _power(level: int) -> Act:
    def act(cast: Cast, cell: Cell, admin: Client) -> None:
        admin.set_power(cell.room_id, users={cast.sam.user_id: level})

    return act


def _nothing(_cast: Cast, _cell: Cell, _admin: Client) -> None:
    """The control."""


def _kick(cast: Cast, cell: Cell, admin: Client) -> None:
    admin.post(f"/rooms/{in_path(cell.room_id)}/kick", {"user_id": cast.sam.user_id})


def _kick_and_return(cast: Cast, cell: Cell, admin: Client) -> None:
    _kick(cast, cell, admin)
    cast.world.settle()
    cast.sam.join(cell.room_id, "hs2")


def _kick_before(cast: Cast, cell: Cell, way: str) -> None:
    if way != "both":
        _kick(cast, cell, cast.remy)


def _return_here(cast: Cast, cell: Cell, way: str) -> None:
    if way == "both":
        _kick(cast, cell, cast.lee)
    cast.sam.join(cell.room_id)


def _throw_out_there(cast: Cast, cell: Cell, way: str) -> None:
    if way == "both":
        _kick(cast, cell, cast.remy)
    elif way == "quarrel":
        _ban(cast, cell, cast.remy)


def _ban(cast: Cast, cell: Cell, admin: Client) -> None:
    admin.post(f"/rooms/{in_path(cell.room_id)}/ban", {"user_id": cast.sam.user_id})


def _upgrade(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.post(f"/rooms/{in_path(cell.room_id)}/upgrade", {"new_version": "12"})


def _raise_type(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.set_power(cell.room_id, events={NOTE: 75})


def _redact_target(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.redact(cell.room_id, cell.target)


def _close(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.set_state(cell.room_id, "m.room.join_rules", {"join_rule": "invite"})


def _say_something(cast: Cast, cell: Cell) -> None:
    cell.target = cast.sam.send(cell.room_id, "to be redacted later")


def _leave(cast: Cast, cell: Cell) -> None:
    cast.sam.leave(cell.room_id)


CHANGES = (
    Change("nothing", _nothing),
    Change("a right never held", _nothing, before=0, forbids=True, too_early=True),
    Change("right lost", _power(0), forbids=True),
    Change("right gained", _power(50), before=0, too_early=True),
    Change("membership lost", _kick, forbids=True),
    Change(
        "membership lost and regained",
        _kick_and_return,
        apart=Apart(_kick_before, _return_here, _throw_out_there),
    ),
    Change("banned", _ban, forbids=True),
    Change("room upgraded", _upgrade, before=0, kind="message", forbids=True),
    Change("power raised for that type", _raise_type, forbids=True),
    Change("target of a redaction gone", _redact_target, kind="redaction", prepare=_say_something),
    Change("join rules changed", _close, kind="join", prepare=_leave, forbids=True),
)
