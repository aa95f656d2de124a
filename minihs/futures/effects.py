"""What the shell must do after a step, in this order. Frozen values.

`Stored`, `TimerStarted` and `Finalised` are rows of one batch; the others are no rows.
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from minihs.futures.model import Cause, Future, MatrixError, Outcome


class Stored(msgspec.Struct, frozen=True):
    """Keep this new future."""

    future: Future


class TimerStarted(msgspec.Struct, frozen=True):
    """The timer of a kept future runs anew."""

    future: Future


class Finalised(msgspec.Struct, frozen=True):
    """Keep the outcome that the future now has, and stop its timer."""

    future: Future


class SendEvent(msgspec.Struct, frozen=True):
    """Make the event now and come back with `SendSucceeded`, `SendFailed` or `SendPostponed`."""

    future: Future
    cause: Cause


class AlreadySo(msgspec.Struct, frozen=True):
    """The command asks for what has already happened."""

    outcome: Outcome


class CallerError(msgspec.Struct, frozen=True):
    """The send that a command asked for was refused; the future stays scheduled."""

    error: MatrixError


class Refusal(Enum):
    """Why a command has no effect."""

    UNKNOWN = auto()
    """The group has no such member."""
    CONTRADICTS_OUTCOME = auto()
    """The future is finalised otherwise."""
    NO_TIMER = auto()
    """An action future has no timer to restart."""
    NO_TIMEOUT_IN_GROUP = auto()
    """An action future needs a timeout future in its group."""
    GROUP_FINISHED = auto()
    """All members are finalised: who wants the group's name again starts another group."""
    NOT_THE_OWNER = auto()
    """The group belongs to somebody else."""
    SENDING = auto()
    """The outcome of a send is awaited; ask again afterwards."""
    NOT_SENDING = auto()
    """A send is reported that is not, or is no longer, wanted: it must not be committed."""


class Refused(msgspec.Struct, frozen=True):
    """The command has no effect."""

    reason: Refusal
    outcome: Outcome | None = None


Effect = Stored | TimerStarted | Finalised | SendEvent | AlreadySo | CallerError | Refused
