"""What a future is: frozen values, without its event's content, which only the sending needs.

Nothing here changes anything; see `engine`. Source: the futures specification, "The engine's vocabulary".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, NewType

import msgspec
from msgspec.structs import replace

from minihs.events.ids import EventID, RoomID, UserID

FutureID = NewType("FutureID", int)
"""Counts up in order of scheduling; never leaves the server (`Future.delay_id` does)."""

GroupID = NewType("GroupID", int)
"""The `FutureID` of the first member. Names that clients choose are `FutureGroup.name`."""

Millis = NewType("Millis", int)
"""A moment on the server's steady clock: it advances with elapsed time, whatever the wall clock does."""


class Now(NamedTuple):
    """The present on both clocks: `steady` decides, `wall` (Unix milliseconds) is only ever shown."""

    steady: Millis
    wall: int


class CancelRule(Enum):
    """Which state events end a future for the same type and state key; the value is what is stored."""

    NEVER = 0
    OTHER_SENDER = 1
    ANY = 2


class Cause(Enum):
    """What finalised a future; the value is what is stored."""

    DELAY = "delay"
    """Its time came."""
    ACTION = "action"
    """A command asked for it."""
    GROUP = "group"
    """Another of its group was sent, or the group lost its last timeout future."""
    STATE = "state"
    """A newer state event."""
    ACCOUNT = "account"
    """Its owner was deactivated."""
    ADMINISTRATOR = "administrator"
    """An administrator of the server gave it up."""


class MatrixError(msgspec.Struct, frozen=True):
    """Why an event could not be sent, as `/send` would have told: status, `errcode`, sentence, the rest."""

    status: int
    errcode: str
    error: str
    extra: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """A standard error response."""
        return {**(self.extra or {}), "errcode": self.errcode, "error": self.error}


CANCELLED_BY_STATE_UPDATE = MatrixError(
    409,
    "M_CANCELLED_BY_STATE_UPDATE",
    "A newer state event with the same type and state key has taken the place of this one.",
)


class Sent(msgspec.Struct, frozen=True, gc=False):
    """It became an event."""

    event_id: EventID
    cause: Cause
    at_wall_ms: int


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """It was given up, and nothing went wrong."""

    cause: Cause
    at_wall_ms: int


class Failed(msgspec.Struct, frozen=True):
    """It should have become an event and could not, or a newer state event made it pointless."""

    error: MatrixError
    cause: Cause
    at_wall_ms: int


Outcome = Sent | Cancelled | Failed


class Future(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One future, scheduled or finalised.

    `timeout_ms` is None for an action future, which only a command sends. The timer last started at
    `started_ms`; `since_ts` is that moment by the wall clock, for showing. `delay_id` is its public name and
    carries at least 128 bits of randomness; `reveals_id` says whether its sender may read it in `unsigned`.
    `dialect` made it and knows its shape in listings; `part` is what it calls this one of the group.
    `bound_to` is the type and state key of the state event that it came with and outlives by no moment.

    Plain data that is in no cycle, as its group and its outcomes are: `gc=False` keeps a hundred thousand of
    them out of every full collection, which would stop the server for a twentieth of a second.
    """

    id: FutureID
    delay_id: str
    owner: UserID
    room_id: RoomID
    type: str
    state_key: str | None
    timeout_ms: int | None
    started_ms: Millis
    since_ts: int
    cancel_rule: CancelRule
    dialect: str
    reveals_id: bool
    part: str | None = None
    bound_to: tuple[str, str] | None = None
    outcome: Outcome | None = None

    @property
    def due_ms(self) -> Millis | None:
        """When it must be sent, on the steady clock; None when no timer is running."""
        if self.timeout_ms is None or self.outcome is not None:
            return None
        return Millis(self.started_ms + self.timeout_ms)

    def started(self, now: Now) -> Future:
        """The future with its timer started now."""
        return replace(self, started_ms=now.steady, since_ts=now.wall, outcome=None)


class FutureGroup(msgspec.Struct, frozen=True, gc=False):
    """Futures of one user of which at most one is ever sent; they may belong to several rooms.

    `members` are in order of their IDs and include those that are finalised and still kept. While an event
    of the group is being made, `sending` names the member and `sending_cause` what set it off.
    """

    id: GroupID
    owner: UserID
    name: str | None = None
    members: tuple[Future, ...] = ()
    sending: FutureID | None = None
    sending_cause: Cause = Cause.ACTION

    def part(self, name: str) -> Future | None:
        """The scheduled member that its dialect calls so."""
        for future in self.scheduled:
            if future.part == name:
                return future
        return None

    def member(self, future_id: FutureID) -> Future | None:
        """The member with that ID."""
        for future in self.members:
            if future.id == future_id:
                return future
        return None

    @property
    def scheduled(self) -> tuple[Future, ...]:
        """The members that have no outcome yet."""
        return tuple(future for future in self.members if future.outcome is None)

    @property
    def finished(self) -> bool:
        """Whether no member can be sent any more; the group's name is then free again."""
        return all(future.outcome is not None for future in self.members)

    @property
    def has_timeout(self) -> bool:
        """Whether a scheduled member has a timer, so that the group is sure to end."""
        return any(future.due_ms is not None for future in self.members)
