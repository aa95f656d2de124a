"""What can be asked of a group of futures. Frozen values; `engine.step` says what each does."""

from __future__ import annotations

import msgspec

from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.model import Cause, Future, FutureID, MatrixError


class Schedule(msgspec.Struct, frozen=True):
    """Add futures to the group, all or none; their timers start now."""

    futures: tuple[Future, ...]


class Restart(msgspec.Struct, frozen=True):
    """Start the timer again with the stored delay."""

    future_id: FutureID


class Send(msgspec.Struct, frozen=True):
    """Send now."""

    future_id: FutureID


class Cancel(msgspec.Struct, frozen=True):
    """Give up one future."""

    future_id: FutureID
    cause: Cause = Cause.ACTION


class CancelAll(msgspec.Struct, frozen=True):
    """Give up the whole group."""

    cause: Cause


class Wake(msgspec.Struct, frozen=True):
    """The time may have come for some member: it may also be early, late or repeated."""


class StateChanged(msgspec.Struct, frozen=True):
    """A state event was added to a room."""

    room_id: RoomID
    type: str
    state_key: str
    sender: UserID


class SendSucceeded(msgspec.Struct, frozen=True):
    """The event that `effects.SendEvent` asked for is made and commits together with this outcome."""

    future_id: FutureID
    event_id: EventID


class SendFailed(msgspec.Struct, frozen=True):
    """The event was refused, and would have been refused to `/send` with this error."""

    future_id: FutureID
    error: MatrixError


class SendPostponed(msgspec.Struct, frozen=True):
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
