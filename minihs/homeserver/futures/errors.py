"""What can go wrong for whoever schedules and manages futures, in no dialect's words."""

from __future__ import annotations

from minihs.futures.effects import Refusal, Refused
from minihs.futures.model import Failed, Outcome, Sent
from minihs.homeserver.errors import Forbidden, HomeserverError, InvalidParam, LimitExceeded, NotFound


class DelayTooLarge(InvalidParam):
    """A delay above the maximum of this server."""

    def __init__(self, max_delay_ms: int) -> None:
        super().__init__(f"The delay is above the maximum of {max_delay_ms} ms.")
        self.max_delay_ms = max_delay_ms


class TooManyScheduled(LimitExceeded):
    """The user's share is full; `retry_after_ms` is the time until the next of theirs is due."""


class SchedulingForbidden(Forbidden):
    """This server takes no futures, or none from this user for this room."""


class UnknownFuture(NotFound):
    """No such future, or it is somebody else's."""

    def __init__(self) -> None:
        super().__init__("There is no such delayed event.")


class UnknownPart(NotFound):
    """The group has no member of that name."""

    def __init__(self, part: str) -> None:
        super().__init__(f"There is nothing called {part!r} to be sent here.")


class FutureConflict(HomeserverError):
    """The future is finalised, and not in the way that was asked for."""

    def __init__(self, outcome: Outcome | None) -> None:
        match outcome:
            case Sent():
                became = "it was sent"
            case Failed(error):
                became = f"it failed with {error.errcode}"
            case _:
                became = "it was cancelled"
        super().__init__(f"The delayed event is over: {became}.")
        self.outcome = outcome


class NotRestartable(HomeserverError):
    """An action future has no timer."""

    def __init__(self) -> None:
        super().__init__("This delayed event has no timer that could be restarted.")


class NoTimeoutInGroup(HomeserverError):
    """An action future was given to a group without a timeout future."""

    def __init__(self) -> None:
        super().__init__("The group has no event with a timeout; schedule one in it first.")


class ForeignGroup(HomeserverError):
    """The group belongs to another user."""

    def __init__(self) -> None:
        super().__init__("This group belongs to another user; choose another name.")


class TokenUnknown(NotFound):
    """No such token, ever or any more."""

    def __init__(self) -> None:
        super().__init__("This token is not known.")


class TokenSpent(NotFound):
    """The token was good; its future is finalised."""

    def __init__(self, delay_id: str) -> None:
        super().__init__("This token is spent: its delayed event is finalised.")
        self.delay_id = delay_id


class Overdue(HomeserverError):
    """The time came while the server was away, and this server does not send what is overdue."""

    def __init__(self) -> None:
        super().__init__("The server was not running when this delayed event was due.")


def as_error(refused: Refused) -> HomeserverError:
    """What the engine's refusal of a command is to whoever gave it."""
    match refused.reason:
        case Refusal.CONTRADICTS_OUTCOME:
            return FutureConflict(refused.outcome)
        case Refusal.NO_TIMER:
            return NotRestartable()
        case Refusal.NO_TIMEOUT_IN_GROUP:
            return NoTimeoutInGroup()
        case Refusal.NOT_THE_OWNER:
            return ForeignGroup()
        case Refusal.UNKNOWN:
            return UnknownFuture()
    raise RuntimeError(f"a step was refused that should not have been tried: {refused.reason}")
