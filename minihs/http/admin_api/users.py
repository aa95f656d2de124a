"""Accounts as an administrator sees and changes them: what `minihs users …` asks for.

Refusals have the codes of the client API, so that a command shows the same sentences as a client.
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import localpart_of, parse_user_id
from minihs.homeserver.accounts.sessions import Sessions
from minihs.homeserver.accounts.users import Users as Accounts
from minihs.homeserver.errors import InvalidParam, NotFound
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.users import UserRow

USERS = "/_minihs/admin/v1/users"
PAGE = 1000


class NewUser(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /users`; `username` is a localpart or a whole user ID."""

    username: str
    password: str
    admin: bool = False


class Password(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /users/{user}/password`."""

    password: str
    logout_devices: bool = True


class Standing(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /users/{user}/standing`: what is left out stays as it is."""

    admin: bool | None = None
    locked: bool | None = None
    suspended: bool | None = None


class Users:
    """Making, finding and changing accounts. `{user}` is a whole user ID or its localpart."""

    def __init__(self, users: Accounts, sessions: Sessions) -> None:
        self._users = users
        self._sessions = sessions

    def routes(self) -> list[Route]:
        user = f"{USERS}/{{user}}"
        return [
            _route("GET", USERS, self.some),
            _route("POST", USERS, self.create, NewUser),
            _route("GET", user, self.one),
            _route("PUT", f"{user}/password", self.set_password, Password),
            _route("PUT", f"{user}/standing", self.set_standing, Standing),
            _route("POST", f"{user}/deactivate", self.deactivate),
        ]

    async def some(self, request: ApiRequest) -> dict[str, Any]:
        """GET /users: by user ID, a page at a time; `next` is the `after` of the next page."""
        rows = await self._users.all_users(request.query.one("after") or "", PAGE)
        page: dict[str, Any] = {"users": [_shown(row) for row in rows]}
        if len(rows) == PAGE:
            page["next"] = rows[-1].user_id
        return page

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        """POST /users"""
        body: NewUser = request.body
        user_id = await self._users.create(self._localpart(body.username), body.password, is_admin=body.admin)
        return _shown(await self._users.user(user_id))

    async def one(self, request: ApiRequest) -> dict[str, Any]:
        """GET /users/{user}: deactivated ones too."""
        return _shown(await self._known(request))

    async def set_password(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /users/{user}/password: logs the user out everywhere unless asked not to."""
        body: Password = request.body
        row = await self._person(request)
        await self._users.set_password(row.user_id, body.password)
        if body.logout_devices:
            await self._sessions.end_all(row.user_id)
        return _shown(await self._users.user(row.user_id))

    async def set_standing(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /users/{user}/standing"""
        body: Standing = request.body
        user_id = (await self._person(request)).user_id
        if body.admin is not None:
            await self._users.set_admin(user_id, body.admin)
        if body.locked is not None:
            await self._users.set_locked(user_id, body.locked)
        if body.suspended is not None:
            await self._users.set_suspended(user_id, body.suspended)
        return _shown(await self._users.user(user_id))

    async def deactivate(self, request: ApiRequest) -> dict[str, Any]:
        """POST /users/{user}/deactivate: again when it failed half-way."""
        user_id = (await self._known(request)).user_id
        await self._users.deactivate(user_id)
        return _shown(await self._known(request))

    def _localpart(self, name: str) -> str:
        if not name.startswith("@"):
            return name
        user_id = parse_user_id(name)
        if not self._users.is_local(user_id):
            raise InvalidParam(f"{user_id} would be a user of another server.")
        return localpart_of(user_id)

    async def _known(self, request: ApiRequest) -> UserRow:
        return await self._users.named(request.args["user"])

    async def _person(self, request: ApiRequest) -> UserRow:
        """An account that somebody can still use, and not just as a guest."""
        row = await self._known(request)
        if row.is_deactivated:
            raise NotFound(f"The account {row.user_id} was deactivated.")
        if row.is_guest:
            raise InvalidParam(f"{row.user_id} is a guest: there is nothing to change about one.")
        return row


def _route(method: str, path: str, handler: Any, body: Any = None) -> Route:
    return Route(method=method, path=path, access=Access.LOCAL, handler=handler, body=body)


def _shown(row: UserRow) -> dict[str, Any]:
    return {
        "user_id": row.user_id,
        "admin": row.is_admin,
        "guest": row.is_guest,
        "locked": row.is_locked,
        "suspended": row.is_suspended,
        "deactivated": row.is_deactivated,
        "created_ms": row.created_ms,
    }
