"""`GET /rooms/{roomId}/relations/{eventId}` and its narrower forms.

Source: Client-Server API, "Forming relationships between events".
"""

from __future__ import annotations

from typing import Any

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.history.event_filter import MAX_LIMIT
from minihs.homeserver.history.relations import MAX_DEPTH, RelatedEvents
from minihs.http.client_api.messages import DEFAULT_LIMIT, reader_of, token
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

PATH = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}"


class Relations:
    """Events that relate to one."""

    def __init__(self, related: RelatedEvents) -> None:
        self._related = related

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(method="GET", path=path, access=Access.USER, handler=self.relations, limit="read")
            for path in (PATH, f"{PATH}/{{rel_type}}", f"{PATH}/{{rel_type}}/{{event_type}}")
        ]

    async def relations(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/relations/{eventId}`, with or without `{relType}` and `{eventType}`."""
        query, args = request.query, request.args
        recurse = query.boolean("recurse")
        limit = query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT)
        reply = await self._related.page(
            reader_of(request),
            RoomID(args["room_id"]),
            EventID(args["event_id"]),
            rel_type=args.get("rel_type"),
            event_type=args.get("event_type"),
            recurse=recurse,
            backwards=query.choice("dir", ("b", "f"), "b") == "b",
            start=token(query, "from"),
            stop=token(query, "to"),
            limit=limit or DEFAULT_LIMIT,
        )
        if query.one("recurse") is not None:
            reply["recursion_depth"] = MAX_DEPTH if recurse else 1
        return reply
