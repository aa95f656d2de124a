"""`GET /rooms/{roomId}/event/{eventId}`. Source: Client-Server API, "Getting events for a room"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.errors import Forbidden, NotFound
from minihs.homeserver.history.timeline import RoomTimeline
from minihs.http.client_api.messages import reader_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class SingleEvent:
    """One event by its ID."""

    def __init__(self, timeline: RoomTimeline) -> None:
        self._timeline = timeline

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="GET",
                path="/_matrix/client/v3/rooms/{room_id}/event/{event_id}",
                access=Access.USER,
                handler=self.event,
                limit="read",
            )
        ]

    async def event(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/event/{eventId}`."""
        room_id, event_id = RoomID(request.args["room_id"]), EventID(request.args["event_id"])
        try:
            return await self._timeline.event(reader_of(request), room_id, event_id)
        except Forbidden as refusal:
            # The endpoint has one answer for what is not there and for what may not be read.
            raise NotFound("There is no such event here, or you may not see it.") from refusal
