"""`GET /rooms/{roomId}/messages`. Source: Client-Server API, "Getting events for a room"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import RoomID
from minihs.homeserver.history.event_filter import (
    EVERY_ROOM_EVENT,
    MAX_LIMIT,
    RoomEventFilter,
    parse_room_event_filter,
)
from minihs.homeserver.history.event_format import Reader
from minihs.homeserver.history.timeline import RoomTimeline
from minihs.homeserver.sync.positions import StreamToken
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest, Query
from minihs.http.routing import Access, Route

DEFAULT_LIMIT = 10


class Messages:
    """Pages of a room's history."""

    def __init__(self, timeline: RoomTimeline) -> None:
        self._timeline = timeline

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="GET",
                path="/_matrix/client/v3/rooms/{room_id}/messages",
                access=Access.USER,
                handler=self.messages,
                limit="read",
            )
        ]

    async def messages(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/messages`."""
        query = request.query
        direction = query.choice("dir", ("b", "f"))
        if direction is None:
            raise MatrixError(400, "M_MISSING_PARAM", "The query parameter `dir` is missing: use b or f.")
        event_filter = room_event_filter(query)
        return await self._timeline.messages(
            reader_of(request),
            RoomID(request.args["room_id"]),
            backwards=direction == "b",
            start=token(query, "from"),
            stop=token(query, "to"),
            limit=limit(query, event_filter, minimum=1),
            event_filter=event_filter,
        )


def reader_of(request: ApiRequest) -> Reader:
    """Whom the events are rendered for."""
    return Reader(request.user.user_id, request.user.device_id)


def room_event_filter(query: Query) -> RoomEventFilter:
    """The parameter `filter`, a RoomEventFilter in JSON."""
    text = query.one("filter")
    return parse_room_event_filter(text) if text else EVERY_ROOM_EVENT


def limit(query: Query, event_filter: RoomEventFilter, *, minimum: int) -> int:
    """The parameter `limit`, else the filter's, else the default; bounded."""
    asked = query.integer("limit", None, minimum=minimum, maximum=MAX_LIMIT)
    if asked is None:
        asked = DEFAULT_LIMIT if event_filter.limit is None else min(event_filter.limit, MAX_LIMIT)
    return max(asked, minimum)


def token(query: Query, name: str) -> StreamToken | None:
    """A parameter that holds a token; None when it is absent or empty."""
    text = query.one(name)
    return StreamToken.parse(text, name) if text else None
