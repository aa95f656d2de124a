"""`GET /rooms/{roomId}/threads`. Source: Client-Server API, "Querying threads in a room"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import RoomID
from minihs.homeserver.history.event_filter import MAX_LIMIT
from minihs.homeserver.history.threads import Threads
from minihs.http.client_api.messages import DEFAULT_LIMIT, reader_of, token
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

PATH = "/_matrix/client/v1/rooms/{room_id}/threads"


class ThreadsApi:
    """The threads of a room."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [Route(method="GET", path=PATH, access=Access.USER, handler=self.threads, limit="read")]

    async def threads(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/threads`"""
        query = request.query
        limit = query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT)
        return await self._threads.page(
            reader_of(request),
            RoomID(request.args["room_id"]),
            participated=query.choice("include", ("all", "participated"), "all") == "participated",
            start=token(query, "from"),
            limit=limit or DEFAULT_LIMIT,
        )
