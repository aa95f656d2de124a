"""`GET /rooms/{roomId}/timestamp_to_event`. Source: Client-Server API, "Getting events for a room"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.homeserver.history.events_by_time import EventsByTime
from minihs.http.client_api.room_requests import room_id_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.http.timestamps import direction_of, timestamp_of


class EventByTime:
    """Finds the event nearest to a moment."""

    def __init__(self, events_by_time: EventsByTime) -> None:
        self._events_by_time = events_by_time

    def routes(self) -> list[Route]:
        """The one route."""
        return [
            Route(
                method="GET",
                path="/_matrix/client/v1/rooms/{room_id}/timestamp_to_event",
                access=Access.USER,
                handler=self.nearest,
                limit="remote",
            )
        ]

    async def nearest(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/timestamp_to_event`."""
        found = await self._events_by_time.nearest_visible(
            request.user.user_id,
            room_id_of(request),
            timestamp_of(request.query),
            direction_of(request.query),
        )
        answer: dict[str, Any] = msgspec.to_builtins(found)
        return answer
