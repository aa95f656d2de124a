"""A user's devices. Source: client-server API, "Device Management"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import DeviceID
from minihs.homeserver.accounts.devices import Devices as DeviceService
from minihs.homeserver.errors import InvalidParam
from minihs.http.client_api.interactive_auth import InteractiveAuth
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.devices import DeviceRow

MAX_DELETED_AT_ONCE = 1000


class RenameBody(msgspec.Struct):
    """The body of `PUT /devices/{deviceId}`."""

    display_name: str | None = None


class DeleteOneBody(msgspec.Struct):
    """The body of `DELETE /devices/{deviceId}`."""

    auth: dict[str, Any] | None = None


class DeleteBody(msgspec.Struct):
    """The body of `POST /delete_devices`."""

    devices: list[str]
    auth: dict[str, Any] | None = None


class Devices:
    """Listing, naming, removing."""

    def __init__(self, devices: DeviceService, interactive_auth: InteractiveAuth) -> None:
        self._devices = devices
        self._interactive_auth = interactive_auth

    def routes(self) -> list[Route]:
        client = "/_matrix/client/v3"
        one = f"{client}/devices/{{device_id}}"
        return [
            Route(method="GET", path=f"{client}/devices", access=Access.USER, handler=self.all_devices),
            Route(method="GET", path=one, access=Access.USER, handler=self.device),
            Route(method="PUT", path=one, access=Access.USER, handler=self.rename, body=RenameBody),
            Route(
                method="DELETE",
                path=one,
                access=Access.MEMBER,
                handler=self.delete_one,
                body=DeleteOneBody,
                limit="account",
                while_suspended=True,
            ),
            Route(
                method="POST",
                path=f"{client}/delete_devices",
                access=Access.MEMBER,
                handler=self.delete,
                body=DeleteBody,
                limit="account",
                while_suspended=True,
            ),
        ]

    async def all_devices(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/devices"""
        return {"devices": [_render(row) for row in await self._devices.all_devices(request.user.user_id)]}

    async def device(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/devices/{deviceId}"""
        return _render(await self._devices.device(request.user.user_id, request.args["device_id"]))

    async def rename(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/devices/{deviceId}"""
        await self._devices.rename(request.user.user_id, request.args["device_id"], request.body.display_name)
        return {}

    async def delete_one(self, request: ApiRequest) -> dict[str, Any]:
        """DELETE /_matrix/client/v3/devices/{deviceId}"""
        return await self._delete(request, [request.args["device_id"]])

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/delete_devices"""
        if len(request.body.devices) > MAX_DELETED_AT_ONCE:
            raise InvalidParam(f"At most {MAX_DELETED_AT_ONCE} devices can be deleted at once.")
        return await self._delete(request, sorted(set(request.body.devices)))

    async def _delete(self, request: ApiRequest, device_ids: list[str]) -> dict[str, Any]:
        user_id = request.user.user_id
        operation = "delete devices " + " ".join(device_ids)
        await self._interactive_auth.require_password(request.body.auth, user_id, operation)
        await self._devices.remove(user_id, [DeviceID(device_id) for device_id in device_ids])
        return {}


def _render(row: DeviceRow) -> dict[str, Any]:
    # matrix-nio takes a device for broken when one of these is missing.
    return {
        "device_id": row.device_id,
        "display_name": row.display_name or "",
        "last_seen_ts": row.last_seen_ms,
        "last_seen_ip": row.last_seen_ip,
    }
