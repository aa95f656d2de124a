"""What can go wrong for a caller of the homeserver, in no protocol's words.

`http.errors` turns each into a status and an errcode.

Every message is a sentence for the person on the other side and says what to change.
"""

from __future__ import annotations


class HomeserverError(Exception):
    """A refusal that is the caller's to know; anything else that escapes is a bug."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidParam(HomeserverError):
    """A value that is well-formed JSON but not acceptable (400 `M_INVALID_PARAM`)."""


class MissingParam(HomeserverError):
    """A required value is absent (400 `M_MISSING_PARAM`)."""


class BadContent(HomeserverError):
    """JSON of the wrong shape, or that could never be an event (400 `M_BAD_JSON`)."""


class TooLarge(HomeserverError):
    """An event over the size limit, or an answer that nobody would take (413 `M_TOO_LARGE`)."""


class Forbidden(HomeserverError):
    """Not allowed (403 `M_FORBIDDEN`); `rule` is the number of the broken auth rule when there is one."""

    def __init__(self, message: str, rule: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule


class NotFound(HomeserverError):
    """Something named in the request does not exist, or is hidden from the caller (404 `M_NOT_FOUND`)."""


class UnknownRoom(NotFound):
    """This server does not know the room (404 `M_NOT_FOUND`; 403 `M_FORBIDDEN` where the spec wants that)."""


class LimitExceeded(HomeserverError):
    """Too many of something (429 `M_LIMIT_EXCEEDED`)."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Unavailable(HomeserverError):
    """It could work later: another server cannot be reached, or the room was being reloaded (503/502)."""


class RoomInUse(HomeserverError):
    """The alias wanted for a new room is taken (400 `M_ROOM_IN_USE`)."""


class InvalidRoomState(HomeserverError):
    """A new room's events would not be allowed in that room (400 `M_INVALID_ROOM_STATE`)."""


class AliasTaken(HomeserverError):
    """The alias stands for a room already (409 `M_UNKNOWN`)."""


class BadAlias(HomeserverError):
    """An alias listed in a room's state does not stand for that room (400 `M_BAD_ALIAS`)."""


class StillInRoom(HomeserverError):
    """A room cannot be forgotten by somebody who has not left it (400 `M_UNKNOWN`)."""


class UnableToAuthoriseJoin(HomeserverError):
    """No condition of a restricted room can be checked here (400 `M_UNABLE_TO_AUTHORISE_JOIN`)."""


class UnableToGrantJoin(HomeserverError):
    """A condition of a restricted room holds, but nobody here can invite (400 `M_UNABLE_TO_GRANT_JOIN`)."""


class InviteBlocked(Forbidden):
    """The user takes no invites (403 `M_INVITE_BLOCKED`)."""


class BadState(Forbidden):
    """The state is not what the change starts from: ending a ban that is none (403 `M_BAD_STATE`)."""
