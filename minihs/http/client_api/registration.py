"""Making accounts. Source: client-server API, "Legacy account registration", "Guest access"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import UserID
from minihs.homeserver.accounts.sessions import Session, Sessions
from minihs.homeserver.accounts.users import Users
from minihs.http.client_api.interactive_auth import InteractiveAuth
from minihs.http.client_api.login import session_reply, user_reply
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.writer import Batch


class RegisterBody(msgspec.Struct, kw_only=True):
    """The body of `POST /register`."""

    auth: dict[str, Any] | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool = False


class Registration:
    """`open_to_all` and `guests` say who may register; closed is the default of the settings."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        interactive_auth: InteractiveAuth,
        *,
        open_to_all: bool,
        guests: bool,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._interactive_auth = interactive_auth
        self._open_to_all = open_to_all
        self._guests = guests

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path="/_matrix/client/v3/register",
                access=Access.OPEN,
                handler=self.register,
                body=RegisterBody,
                limit="registration",
            ),
            Route(
                method="GET",
                path="/_matrix/client/v3/register/available",
                access=Access.OPEN,
                handler=self.available,
                limit="registration",
            ),
        ]

    async def register(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/register"""
        body: RegisterBody = request.body
        kind = request.query.choice("kind", ("user", "guest"), default="user")
        if kind == "guest":
            if not self._guests:
                raise MatrixError(403, "M_FORBIDDEN", "This server takes no guests.")
            return await self._create(request, guest=True)
        self._check_open()
        if body.username is not None:
            await self._users.check_available(body.username)
        self._interactive_auth.require_dummy(body.auth, f"register {body.username or ''}")
        if body.password is None:
            raise MatrixError(400, "M_MISSING_PARAM", "The body lacks `password`.")
        return await self._create(request, guest=False)

    async def available(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/register/available"""
        self._check_open()
        await self._users.check_available(request.query.required("username"))
        return {"available": True}

    async def _create(self, request: ApiRequest, *, guest: bool) -> dict[str, Any]:
        body: RegisterBody = request.body
        opened: list[Session] = []

        def open_session(batch: Batch, user_id: UserID) -> None:
            device_id = None if guest else body.device_id  # the server chooses a guest's device
            name = body.initial_device_display_name
            opened.append(self._sessions.add(batch, user_id, device_id, name, address=request.client_address))

        if guest:
            user_id = await self._users.create_guest(also=open_session)
        elif body.inhibit_login:
            user_id = await self._users.create(body.username, body.password)
        else:
            user_id = await self._users.create(body.username, body.password, also=open_session)
        for session in opened:
            self._sessions.opened(session)
            return session_reply(session)
        return user_reply(user_id)

    def _check_open(self) -> None:
        if not self._open_to_all:
            raise MatrixError(
                403, "M_FORBIDDEN", "Registration is closed. Ask an administrator of this server."
            )
