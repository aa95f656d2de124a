"""`GET /rooms/{roomId}/context/{eventId}`. Source: Client-Server API, "Event Context"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.history.timeline import RoomTimeline
from minihs.http.client_api.messages import limit, reader_of, room_event_filter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class Context:
    """What happened around an event."""

    def __init__(self, timeline: RoomTimeline) -> None:
        self._timeline = timeline

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="GET",
                path="/_matrix/client/v3/rooms/{room_id}/context/{event_id}",
                access=Access.USER,
                handler=self.context,
                limit="read",
            )
        ]

    async def context(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/context/{eventId}`."""
        event_filter = room_event_filter(request.query)
        return await self._timeline.context(
            reader_of(request),
            RoomID(request.args["room_id"]),
            EventID(request.args["event_id"]),
            limit=limit(request.query, event_filter, minimum=0),
            event_filter=event_filter,
        )
