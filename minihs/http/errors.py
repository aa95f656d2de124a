"""Errors as Matrix answers them. The only place, with the dialects, that knows `M_` codes and their statuses.

Source: client-server API, "Standard error response" and "Common error codes"; server-server API, "Errors".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from minihs.events.canonical import NotCanonical
from minihs.events.ids import InvalidIdentifier
from minihs.events.limits import EventTooLarge, InvalidEvent
from minihs.events.versions import UnsupportedRoomVersion
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.homeserver import errors as refusals
from minihs.homeserver.accounts.passwords import WeakPassword
from minihs.homeserver.accounts.profiles import KeyTooLarge, ProfileTooLarge
from minihs.homeserver.accounts.push_rules import BadRulePlace
from minihs.homeserver.accounts.sessions import UnknownToken
from minihs.homeserver.accounts.users import InvalidUsername, UserDeactivated, UserInUse
from minihs.homeserver.futures.errors import Overdue
from minihs.platform.lanes import LaneFull
from minihs.store.writer import WriterStopped


class MatrixError(Exception):
    """A standard error response."""

    def __init__(
        self,
        status: int,
        errcode: str,
        error: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {errcode}: {error}")
        self.status = status
        self.errcode = errcode
        self.error = error
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the response."""
        return {"errcode": self.errcode, "error": self.error, **self.extra}


def unrecognized() -> MatrixError:
    """The answer to a path that this server does not have."""
    return MatrixError(404, "M_UNRECOGNIZED", "There is no such endpoint on this server.")


def internal_error() -> MatrixError:
    """The answer to what should not have happened: it says nothing."""
    return MatrixError(500, "M_UNKNOWN", "Internal server error")


def too_large(max_bytes: int) -> MatrixError:
    """The body is over the limit of its route."""
    return MatrixError(413, "M_TOO_LARGE", f"The body of the request is larger than {max_bytes} bytes.")


def _limit_exceeded(refusal: refusals.LimitExceeded) -> MatrixError:
    seconds = max(1, math.ceil(refusal.retry_after_ms / 1000))
    return MatrixError(
        429,
        "M_LIMIT_EXCEEDED",
        refusal.message,
        extra={"retry_after_ms": refusal.retry_after_ms},
        headers={"Retry-After": str(seconds), "Access-Control-Expose-Headers": "Retry-After"},
    )


def _lane_full(_refusal: LaneFull) -> MatrixError:
    return _limit_exceeded(refusals.LimitExceeded("Too much is waiting here already.", retry_after_ms=1000))


def _writer_stopped(_refusal: WriterStopped) -> MatrixError:
    return stopping()


def stopping() -> MatrixError:
    """The answer to what comes, or is still under way, when the server stops."""
    return MatrixError(503, "M_UNKNOWN", "The server is stopping.", headers={"Retry-After": "5"})


def _unknown_token(refusal: UnknownToken) -> MatrixError:
    extra = {"soft_logout": True} if refusal.soft_logout else None
    return MatrixError(401, "M_UNKNOWN_TOKEN", refusal.message, extra=extra)


def _plain(status: int, errcode: str) -> Callable[[Any], MatrixError]:
    def translate(refusal: Exception) -> MatrixError:
        return MatrixError(status, errcode, str(refusal))

    return translate


_PASSED_ON: Mapping[str, tuple[int, str]] = {
    "M_FORBIDDEN": (403, "M_FORBIDDEN"),
    "M_INVITE_BLOCKED": (403, "M_INVITE_BLOCKED"),
    "M_NOT_FOUND": (404, "M_NOT_FOUND"),
    "M_INCOMPATIBLE_ROOM_VERSION": (400, "M_UNSUPPORTED_ROOM_VERSION"),
    "M_UNSUPPORTED_ROOM_VERSION": (400, "M_UNSUPPORTED_ROOM_VERSION"),
    "M_UNABLE_TO_AUTHORISE_JOIN": (403, "M_FORBIDDEN"),
    "M_UNABLE_TO_GRANT_JOIN": (403, "M_FORBIDDEN"),
}
"""Refusals of other servers that are about what the user wants; others are between the servers, and a client
must not take one (`M_UNKNOWN_TOKEN`, say) for ours."""


def _remote_refusal(refusal: RemoteRefusal) -> MatrixError:
    status, errcode = _PASSED_ON.get(refusal.errcode, (502, "M_UNKNOWN"))
    return MatrixError(status, errcode, f"The other server refused: {refusal.error}")


TRANSLATIONS: dict[type[Exception], Callable[[Any], MatrixError]] = {
    refusals.InvalidParam: _plain(400, "M_INVALID_PARAM"),
    refusals.MissingParam: _plain(400, "M_MISSING_PARAM"),
    refusals.BadContent: _plain(400, "M_BAD_JSON"),
    refusals.TooLarge: _plain(413, "M_TOO_LARGE"),
    refusals.Forbidden: _plain(403, "M_FORBIDDEN"),
    refusals.NotFound: _plain(404, "M_NOT_FOUND"),
    refusals.LimitExceeded: _limit_exceeded,
    refusals.Unavailable: _plain(503, "M_UNKNOWN"),
    refusals.RoomInUse: _plain(400, "M_ROOM_IN_USE"),
    refusals.InvalidRoomState: _plain(400, "M_INVALID_ROOM_STATE"),
    refusals.AliasTaken: _plain(409, "M_UNKNOWN"),
    refusals.BadAlias: _plain(400, "M_BAD_ALIAS"),
    refusals.InviteBlocked: _plain(403, "M_INVITE_BLOCKED"),
    refusals.BadState: _plain(403, "M_BAD_STATE"),
    refusals.StillInRoom: _plain(400, "M_UNKNOWN"),
    refusals.UnableToAuthoriseJoin: _plain(400, "M_UNABLE_TO_AUTHORISE_JOIN"),
    refusals.UnableToGrantJoin: _plain(400, "M_UNABLE_TO_GRANT_JOIN"),
    Overdue: _plain(503, "ORG.MINIHS.OVERDUE"),
    RemoteRefusal: _remote_refusal,
    Unreachable: _plain(502, "M_UNKNOWN"),
    LaneFull: _lane_full,
    WriterStopped: _writer_stopped,
    UnknownToken: _unknown_token,
    InvalidUsername: _plain(400, "M_INVALID_USERNAME"),
    UserInUse: _plain(400, "M_USER_IN_USE"),
    UserDeactivated: _plain(403, "M_USER_DEACTIVATED"),
    WeakPassword: _plain(400, "M_WEAK_PASSWORD"),
    ProfileTooLarge: _plain(400, "M_PROFILE_TOO_LARGE"),
    KeyTooLarge: _plain(400, "M_KEY_TOO_LARGE"),
    BadRulePlace: _plain(400, "M_UNKNOWN"),
    InvalidIdentifier: _plain(400, "M_INVALID_PARAM"),
    UnsupportedRoomVersion: _plain(400, "M_UNSUPPORTED_ROOM_VERSION"),
    InvalidEvent: _plain(400, "M_BAD_JSON"),
    EventTooLarge: _plain(413, "M_TOO_LARGE"),
    NotCanonical: _plain(400, "M_BAD_JSON"),
}
"""How each refusal of the layers below is answered, unless a class nearer to it stands here too. A route may
catch one itself where the specification gives its endpoint another code."""


def to_matrix_error(error: BaseException) -> MatrixError | None:
    """The answer for `error`; None when it is nobody's refusal, and so a bug."""
    if isinstance(error, MatrixError):
        return error
    for kind in type(error).__mro__:
        translate = TRANSLATIONS.get(kind)
        if translate is not None:
            return translate(error)
    return None
