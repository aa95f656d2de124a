"""The devices of our users. Source: Server-Server API, "Device Management".

Device keys are not kept by this server yet; devices are listed without any.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from minihs.events import canonical
from minihs.events.ids import ServerName, parse_user_id, server_name_of
from minihs.homeserver.errors import NotFound
from minihs.http.federation_api.paths import LIMIT, V1
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.devices import DeviceStore
from minihs.store.users import UserStore


class UserDevices:
    """`/user/devices`."""

    def __init__(self, *, server_name: ServerName, users: UserStore, devices: DeviceStore) -> None:
        self._server_name = server_name
        self._users = users
        self._devices = devices

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="GET",
                path=f"{V1}/user/devices/{{user_id}}",
                access=Access.SERVER,
                handler=self.devices,
                limit=LIMIT,
            )
        ]

    async def devices(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/user/devices/{userId}"""
        user_id = parse_user_id(request.args["user_id"])
        user = await self._users.maybe_user(user_id)
        if server_name_of(user_id) != self._server_name or user is None or user.is_deactivated:
            raise NotFound(f"There is no user {user_id} here.")
        devices = await self._devices.all_devices(user_id)
        listed = [
            {
                "device_id": device.device_id,
                "keys": {},
                **({"device_display_name": device.display_name} if device.display_name else {}),
            }
            for device in devices
        ]
        return {"user_id": user_id, "stream_id": _fingerprint(listed), "devices": listed}


def _fingerprint(listed: list[dict[str, Any]]) -> int:
    """A number that changes with the list; we send no `m.device_list_update` that it could be compared to."""
    return int.from_bytes(sha256(canonical.encode(listed)).digest()[:6], "big")
