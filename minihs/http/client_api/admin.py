"""What the specification gives to administrators: locking, suspending, looking somebody's sessions up.

Source: client-server API, "Server administration", "Account locking", "Account suspension".
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import UserID, parse_user_id
from minihs.homeserver.accounts.devices import Devices
from minihs.homeserver.accounts.users import Users
from minihs.homeserver.errors import Forbidden, InvalidParam
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.users import UserRow


class LockBody(msgspec.Struct):
    """The body of `PUT /admin/lock/{userId}`."""

    locked: bool


class SuspendBody(msgspec.Struct):
    """The body of `PUT /admin/suspend/{userId}`."""

    suspended: bool


class Admin:
    """Moderation of accounts."""

    def __init__(self, users: Users, devices: Devices) -> None:
        self._users = users
        self._devices = devices

    def routes(self) -> list[Route]:
        admin = "/_matrix/client/v1/admin"
        lock, suspend = f"{admin}/lock/{{user_id}}", f"{admin}/suspend/{{user_id}}"
        return [
            Route(method="GET", path=lock, access=Access.ADMIN, handler=self.is_locked),
            Route(method="PUT", path=lock, access=Access.ADMIN, handler=self.lock, body=LockBody),
            Route(method="GET", path=suspend, access=Access.ADMIN, handler=self.is_suspended),
            Route(method="PUT", path=suspend, access=Access.ADMIN, handler=self.suspend, body=SuspendBody),
            Route(
                method="GET",
                path="/_matrix/client/v3/admin/whois/{user_id}",
                access=Access.USER,
                handler=self.whois,
            ),
        ]

    async def is_locked(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v1/admin/lock/{userId}"""
        return {"locked": (await self._target(request)).is_locked}

    async def lock(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v1/admin/lock/{userId}"""
        target = await self._target(request)
        await self._users.set_locked(target.user_id, request.body.locked)
        return {"locked": request.body.locked}

    async def is_suspended(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v1/admin/suspend/{userId}"""
        return {"suspended": (await self._target(request)).is_suspended}

    async def suspend(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v1/admin/suspend/{userId}"""
        target = await self._target(request)
        await self._users.set_suspended(target.user_id, request.body.suspended)
        return {"suspended": request.body.suspended}

    async def whois(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/admin/whois/{userId}: of oneself, or by an administrator."""
        user_id = parse_user_id(request.args["user_id"])
        if user_id != request.user.user_id and not request.user.is_admin:
            raise Forbidden("Only an administrator of this server can look others up.")
        await self._users.user(self._local(user_id))
        devices = {
            device.device_id: {
                "sessions": [{"connections": [{"ip": device.last_seen_ip, "last_seen": device.last_seen_ms}]}]
            }
            for device in await self._devices.all_devices(user_id)
        }
        return {"user_id": user_id, "devices": devices}

    async def _target(self, request: ApiRequest) -> UserRow:
        """The account to moderate: a local one, and no administrator's."""
        target = await self._users.user(self._local(parse_user_id(request.args["user_id"])))
        if target.is_admin:
            raise Forbidden("An administrator cannot be locked or suspended.")
        return target

    def _local(self, user_id: UserID) -> UserID:
        if not self._users.is_local(user_id):
            raise InvalidParam("The user does not belong to this server.")
        return user_id
