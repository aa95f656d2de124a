"""`POST /rooms/{roomId}/read_markers`. Source: Client-Server API, "Read and unread markers"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.sync.read_markers import FULLY_READ, ReadMarkers
from minihs.homeserver.sync.receipts import READ, READ_PRIVATE
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class MarkersBody(msgspec.Struct):
    """The body: event IDs, each of which may be left out (or null, as some clients send it)."""

    fully_read: str | None = msgspec.field(default=None, name=FULLY_READ)
    read: str | None = msgspec.field(default=None, name=READ)
    read_private: str | None = msgspec.field(default=None, name=READ_PRIVATE)


class ReadMarkersApi:
    """Moves markers."""

    def __init__(self, read_markers: ReadMarkers) -> None:
        self._read_markers = read_markers

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="POST",
                path="/_matrix/client/v3/rooms/{room_id}/read_markers",
                access=Access.USER,
                handler=self.move,
                body=MarkersBody,
                limit="ephemeral",
            )
        ]

    async def move(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/read_markers`."""
        body: MarkersBody = request.body
        markers = {FULLY_READ: body.fully_read, READ: body.read, READ_PRIVATE: body.read_private}
        await self._read_markers.move(
            request.user.user_id,
            RoomID(request.args["room_id"]),
            {kind: EventID(event_id) for kind, event_id in markers.items() if event_id is not None},
        )
        return {}
