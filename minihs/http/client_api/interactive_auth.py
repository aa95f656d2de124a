"""User-interactive authentication: the request is repeated with proof of who asks.

Each flow here has one stage. Source: client-server API, "User-Interactive Authentication API".
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import UserID
from minihs.homeserver.errors import Forbidden
from minihs.http.client_api.password_check import PasswordCheck
from minihs.http.errors import MatrixError
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, token_urlsafe

SESSION_MS = 15 * 60 * 1000
MAX_SESSIONS = 10_000
PASSWORD = "m.login.password"  # noqa: S105
DUMMY = "m.login.dummy"


class AuthenticationNeeded(MatrixError):
    """401 with the flows to choose from; with an errcode only when an attempt has failed."""

    def __init__(self, session: str, stage: str, errcode: str = "", error: str = "") -> None:
        super().__init__(401, errcode, error)
        self._session = session
        self._stage = stage

    @property
    def body(self) -> dict[str, Any]:
        flows: dict[str, Any] = {
            "flows": [{"stages": [self._stage]}],
            "params": {},
            "session": self._session,
            "completed": [],
        }
        return {**super().body, **flows} if self.errcode else flows


class _Session(msgspec.Struct, frozen=True):
    operation: str
    expires_ms: float


class InteractiveAuth:
    """Keeps the sessions that were offered, in memory, until they are used or expire."""

    def __init__(
        self,
        password_check: PasswordCheck,
        *,
        clock: Clock,
        entropy: Entropy,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self._password_check = password_check
        self._clock = clock
        self._entropy = entropy
        self._max_sessions = max_sessions
        self._sessions: dict[str, _Session] = {}

    async def require_password(self, auth: dict[str, Any] | None, user_id: UserID, operation: str) -> None:
        """Return once `auth` proves with a password that the user asks; AuthenticationNeeded otherwise.

        `operation` names what is asked for and for whom: a session is good for that alone.
        """
        operation = f"{user_id} {operation}"
        session = self._stage(auth, PASSWORD, operation)
        try:
            account = await self._password_check.check(auth or {})
        except Forbidden as refusal:
            raise AuthenticationNeeded(session, PASSWORD, "M_FORBIDDEN", refusal.message) from None
        if account.user_id != user_id:
            raise AuthenticationNeeded(
                session, PASSWORD, "M_FORBIDDEN", "The user is not the one whose access token this is."
            )
        self._sessions.pop(session, None)

    def require_dummy(self, auth: dict[str, Any] | None, operation: str) -> None:
        """Return once `auth` completes the stage that asks nothing; AuthenticationNeeded otherwise."""
        self._sessions.pop(self._stage(auth, DUMMY, operation), None)

    def _stage(self, auth: dict[str, Any] | None, stage: str, operation: str) -> str:
        """The session in which `auth` attempts `stage`."""
        if auth is None:
            raise AuthenticationNeeded(self._open(operation), stage)
        session = auth.get("session")
        # A client that knows the flows beforehand may do without a session; one that names it must have it.
        if session is None:
            session = self._open(operation)
        elif not isinstance(session, str) or not self._is_open(session, operation):
            raise AuthenticationNeeded(
                self._open(operation),
                stage,
                "M_UNKNOWN",
                "The session has expired, or is for another request.",
            )
        attempted = auth.get("type")
        if attempted is None:
            raise AuthenticationNeeded(session, stage)
        if attempted != stage:
            raise AuthenticationNeeded(session, stage, "M_UNRECOGNIZED", f"The stage needed is {stage}.")
        return session

    def _open(self, operation: str) -> str:
        now_ms = self._clock.monotonic_ms()
        # In order of their opening, which is the order of their expiry.
        for session_id, session in list(self._sessions.items()):
            if session.expires_ms > now_ms and len(self._sessions) < self._max_sessions:
                break
            del self._sessions[session_id]
        session_id = token_urlsafe(self._entropy)
        self._sessions[session_id] = _Session(operation, now_ms + SESSION_MS)
        return session_id

    def _is_open(self, session_id: str, operation: str) -> bool:
        session = self._sessions.get(session_id)
        return (
            session is not None
            and session.operation == operation
            and session.expires_ms > self._clock.monotonic_ms()
        )
