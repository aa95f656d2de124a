"""What can be asked of a group of futures. Frozen values; `engine.step` says what each does."""

from __future__ import annotations

from dataclasses import dataclass

from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.model import Cause, Future, FutureID, MatrixError


@dataclass(frozen=True, slots=True)
class Schedule:
    """Add futures to the group, all or none; their timers start now."""

    futures: tuple[Future, ...]


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the timer again with the stored delay."""

    future_id: FutureID


@dataclass(frozen=True, slots=True)
class Send:
    """Send now."""

    future_id: FutureID


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give up one future."""

    future_id: FutureID


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Give up the whole group."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Wake:
    """The time may have come for some member: it may also be early, late or repeated."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A state event was added to a room."""

    room_id: RoomID
    type: str
    state_key: str
    sender: UserID


@dataclass(frozen=True, slots=True)
class SendSucceeded:
    """The event that `effects.SendEvent` asked for is made and commits together with this outcome."""

    future_id: FutureID
    event_id: EventID


@dataclass(frozen=True, slots=True)
class SendFailed:
    """The event was refused, and would have been refused to `/send` with this error."""

    future_id: FutureID
    error: MatrixError


@dataclass(frozen=True, slots=True)
class SendPostponed:
    """The event could not be tried (storage or another server was away): nothing is decided, try later."""

    future_id: FutureID


Command = (
    Schedule
    | Restart
    | Send
    | Cancel
    | CancelAll
    | Wake
    | StateChanged
    | SendSucceeded
    | SendFailed
    | SendPostponed
)
