"""Logging in and out. Source: client-server API, "Legacy login"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import UserID, server_name_of
from minihs.homeserver.accounts.sessions import Session, Sessions
from minihs.http.client_api.password_check import PasswordCheck
from minihs.http.client_api.well_known import WellKnownSettings
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

PASSWORD = "m.login.password"  # noqa: S105


class LoginBody(msgspec.Struct, kw_only=True):
    """The body of `POST /login`, as far as this server reads it."""

    type: str
    identifier: dict[str, Any] | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None


class Login:
    """Sessions come and go."""

    def __init__(
        self, password_check: PasswordCheck, sessions: Sessions, well_known: WellKnownSettings
    ) -> None:
        self._password_check = password_check
        self._sessions = sessions
        self._well_known = well_known

    def routes(self) -> list[Route]:
        client = "/_matrix/client/v3"
        return [
            Route(method="GET", path=f"{client}/login", access=Access.OPEN, handler=self.flows),
            Route(
                method="POST",
                path=f"{client}/login",
                access=Access.OPEN,
                handler=self.login,
                body=LoginBody,
                limit="login",
            ),
            Route(
                method="POST",
                path=f"{client}/logout",
                access=Access.USER,
                handler=self.logout,
                while_locked=True,
                while_suspended=True,
            ),
            Route(
                method="POST",
                path=f"{client}/logout/all",
                access=Access.USER,
                handler=self.logout_all,
                while_locked=True,
                while_suspended=True,
            ),
        ]

    async def flows(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/login"""
        return {"flows": [{"type": PASSWORD}]}

    async def login(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/login"""
        body: LoginBody = request.body
        if body.type != PASSWORD:
            raise MatrixError(400, "M_UNKNOWN", f"The only way to log in here is {PASSWORD}.")
        identity = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}
        account = await self._password_check.check(identity)
        if account.is_locked:
            raise MatrixError(401, "M_USER_LOCKED", "This account is locked.", extra={"soft_logout": True})
        session = await self._sessions.open(
            account.user_id,
            body.device_id,
            body.initial_device_display_name,
            address=request.client_address,
        )
        reply = session_reply(session)
        if self._well_known.client is not None:
            reply["well_known"] = self._well_known.client
        return reply

    async def logout(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/logout"""
        await self._sessions.end(request.user.user_id, [request.user.device_id])
        return {}

    async def logout_all(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/logout/all"""
        await self._sessions.end_all(request.user.user_id)
        return {}


def session_reply(session: Session) -> dict[str, Any]:
    """What a client is told of its new session."""
    return {
        **user_reply(session.user_id),
        "access_token": session.access_token,
        "device_id": session.device_id,
    }


def user_reply(user_id: UserID) -> dict[str, Any]:
    """What a client is told of an account; `home_server` is deprecated and still read by old clients."""
    return {"user_id": user_id, "home_server": server_name_of(user_id)}
