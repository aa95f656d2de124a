"""One's own account: who am I, another password, the end.

Source: client-server API, "Legacy account management".
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.homeserver.accounts.sessions import Sessions
from minihs.homeserver.accounts.users import Users
from minihs.http.client_api.interactive_auth import InteractiveAuth
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class PasswordBody(msgspec.Struct, kw_only=True):
    """The body of `POST /account/password`."""

    new_password: str
    logout_devices: bool = True
    auth: dict[str, Any] | None = None


class DeactivateBody(msgspec.Struct, kw_only=True):
    """The body of `POST /account/deactivate`."""

    auth: dict[str, Any] | None = None
    erase: bool = False


class Account:
    """What a user does with their own account."""

    def __init__(self, users: Users, sessions: Sessions, interactive_auth: InteractiveAuth) -> None:
        self._users = users
        self._sessions = sessions
        self._interactive_auth = interactive_auth

    def routes(self) -> list[Route]:
        account = "/_matrix/client/v3/account"
        return [
            Route(method="GET", path=f"{account}/whoami", access=Access.USER, handler=self.whoami),
            Route(
                method="POST",
                path=f"{account}/password",
                access=Access.MEMBER,
                handler=self.password,
                body=PasswordBody,
                limit="account",
                while_suspended=True,
            ),
            Route(
                method="POST",
                path=f"{account}/deactivate",
                access=Access.MEMBER,
                handler=self.deactivate,
                body=DeactivateBody,
                limit="account",
                while_suspended=True,
            ),
        ]

    async def whoami(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/account/whoami"""
        user = request.user
        return {"user_id": user.user_id, "device_id": user.device_id, "is_guest": user.is_guest}

    async def password(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/account/password"""
        body: PasswordBody = request.body
        user = request.user
        await self._interactive_auth.require_password(body.auth, user.user_id, "change the password")
        await self._users.set_password(user.user_id, body.new_password)
        if body.logout_devices:
            await self._sessions.end_all(user.user_id, but=user.device_id)
        return {}

    async def deactivate(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/account/deactivate

        `erase` asks to show the user's messages to nobody who does not have them yet; deactivation alone
        already removes the profile, and the events themselves stay, as the specification allows.
        """
        body: DeactivateBody = request.body
        await self._interactive_auth.require_password(body.auth, request.user.user_id, "deactivate")
        await self._users.deactivate(request.user.user_id)
        # There was never a third-party identifier to unbind.
        return {"id_server_unbind_result": "success"}
