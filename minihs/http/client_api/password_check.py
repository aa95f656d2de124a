"""Checking a password that came over HTTP: identifiers as clients write them, and a limit on guessing.

Source: client-server API, "Identifier types".
"""

from __future__ import annotations

from typing import Any

from minihs.homeserver.accounts.users import Users
from minihs.homeserver.errors import Forbidden
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.store.users import UserRow

FAILURES = "login_failures"
_WRONG = "The username or the password is wrong."


class PasswordCheck:
    """Proves who somebody is, by password."""

    def __init__(self, users: Users, limiter: RateLimiter) -> None:
        self._users = users
        self._limiter = limiter

    async def check(self, identity: dict[str, Any]) -> UserRow:
        """The account that `identity` (`identifier` or, as of old, `user`; and `password`) belongs to.

        Forbidden when they do not belong together, LimitExceeded after too many wrong guesses at one account.
        """
        password = identity.get("password")
        if password is None:
            raise MatrixError(400, "M_MISSING_PARAM", "The `password` is missing.")
        if not isinstance(password, str):
            raise MatrixError(400, "M_INVALID_PARAM", "The `password` must be a string.")
        user = user_of(identity)
        account = (self._users.user_id_of(user) or user.lower())[:256]
        self._limiter.check(FAILURES, account)
        try:
            return await self._users.authenticate(user, password)
        except Forbidden:
            self._limiter.charge(FAILURES, account)
            raise


def user_of(identity: dict[str, Any]) -> str:
    """The user that a login, or a stage of interactive authentication, names.

    MatrixError 400 when it names none, Forbidden for e-mail addresses and telephone numbers: this server
    knows nobody by those.
    """
    identifier = identity.get("identifier")
    if identifier is None:
        if "medium" in identity or "address" in identity:
            raise Forbidden(_WRONG)
        user = identity.get("user")
        name = "user"
    else:
        if not isinstance(identifier, dict):
            raise MatrixError(400, "M_INVALID_PARAM", "The `identifier` must be an object.")
        kind = identifier.get("type")
        if kind in ("m.id.thirdparty", "m.id.phone"):
            raise Forbidden(_WRONG)
        if kind is None:
            raise MatrixError(400, "M_MISSING_PARAM", "The `identifier` lacks its `type`.")
        if kind != "m.id.user":
            raise MatrixError(400, "M_UNKNOWN", "The `type` of an `identifier` is m.id.user on this server.")
        user = identifier.get("user")
        name = "identifier.user"
    if user is None:
        raise MatrixError(400, "M_MISSING_PARAM", f"The `{name}` is missing.")
    if not isinstance(user, str):
        raise MatrixError(400, "M_INVALID_PARAM", f"The `{name}` must be a string.")
    return user
