"""Room aliases. Source: Client-Server API, "Room aliases"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import parse_room_alias, parse_room_id
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.view import RoomView
from minihs.http.client_api.room_requests import room_id_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

ALIAS = "/_matrix/client/v3/directory/room/{alias}"


class AliasBody(msgspec.Struct):
    """The body of `PUT /directory/room/{roomAlias}`."""

    room_id: str


class Aliases:
    """Makes, resolves, lists and removes aliases."""

    def __init__(self, directory: Directory, view: RoomView) -> None:
        self._directory = directory
        self._view = view

    def routes(self) -> list[Route]:
        """The routes of this module. Resolving needs no token; for an alias from afar it asks its server."""
        return [
            Route(method="GET", path=ALIAS, access=Access.OPEN, handler=self.resolve, limit="directory"),
            Route(
                method="PUT",
                path=ALIAS,
                access=Access.MEMBER,
                handler=self.create,
                body=AliasBody,
                limit="directory",
            ),
            Route(method="DELETE", path=ALIAS, access=Access.MEMBER, handler=self.remove, limit="directory"),
            Route(
                method="GET",
                path="/_matrix/client/v3/rooms/{room_id}/aliases",
                access=Access.MEMBER,
                handler=self.of_room,
            ),
        ]

    async def resolve(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /directory/room/{roomAlias}`."""
        target = await self._directory.resolve(parse_room_alias(request.args["alias"]))
        return {"room_id": target.room_id, "servers": list(target.servers)}

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT /directory/room/{roomAlias}`."""
        await self._directory.create_alias(
            parse_room_alias(request.args["alias"]), parse_room_id(request.body.room_id), request.user.user_id
        )
        return {}

    async def remove(self, request: ApiRequest) -> dict[str, Any]:
        """`DELETE /directory/room/{roomAlias}`."""
        user = request.user
        await self._directory.remove_alias(
            parse_room_alias(request.args["alias"]), user.user_id, is_admin=user.is_admin
        )
        return {}

    async def of_room(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/aliases`, for members, and for anybody where history is world-readable."""
        room_id = room_id_of(request)
        await self._view.check_present(request.user.user_id, room_id)
        return {"aliases": await self._directory.local_aliases(room_id)}
