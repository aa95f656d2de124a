"""`POST /rooms/{roomId}/upgrade`. Source: Client-Server API, "Room Upgrades"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import parse_user_id
from minihs.events.versions import supported
from minihs.homeserver.room_actions.upgrade import RoomUpgrade
from minihs.http.client_api.room_requests import only_members, room_id_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class UpgradeBody(msgspec.Struct):
    """The body of an upgrade."""

    new_version: str
    additional_creators: list[str] = []


class Upgrade:
    """Upgrades rooms."""

    def __init__(self, upgrades: RoomUpgrade) -> None:
        self._upgrades = upgrades

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="POST",
                path="/_matrix/client/v3/rooms/{room_id}/upgrade",
                access=Access.MEMBER,
                handler=self.upgrade,
                body=UpgradeBody,
                limit="create_room",
            )
        ]

    async def upgrade(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/upgrade`."""
        body: UpgradeBody = request.body
        version = supported(body.new_version)
        creators = [parse_user_id(name) for name in body.additional_creators]
        with only_members():
            successor = await self._upgrades.upgrade(
                room_id_of(request), request.user.user_id, version, creators
            )
        return {"replacement_room": successor}
