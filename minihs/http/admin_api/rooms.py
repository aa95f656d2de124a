"""Rooms as an administrator sees them: what `minihs rooms …` asks for."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import parse_room_id
from minihs.homeserver.rooms.purging import RoomPurges
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

ROOMS = "/_minihs/admin/v1/rooms"


class Rooms:
    """Removing rooms."""

    def __init__(self, purges: RoomPurges) -> None:
        self._purges = purges

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path=f"{ROOMS}/{{room_id}}/purge",
                access=Access.LOCAL,
                handler=self.purge,
            )
        ]

    async def purge(self, request: ApiRequest) -> dict[str, Any]:
        """POST /rooms/{room_id}/purge: forget the room for all who have left it, and remove it now."""
        await self._purges.purge(parse_room_id(request.args["room_id"]))
        return {}
