"""Space trees and summaries of rooms. Source: Client-Server API, "Spaces" and `GET /room_summary`."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import parse_room_alias, parse_room_id
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.hierarchy import DEFAULT_PAGE, MAX_DEPTH, MAX_PAGE, Hierarchy
from minihs.homeserver.room_actions.room_previews import RoomPreviews
from minihs.http.client_api.room_requests import room_id_of, via_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

V1 = "/_matrix/client/v1"


class Spaces:
    """`/hierarchy` and `/room_summary`."""

    def __init__(self, hierarchy: Hierarchy, previews: RoomPreviews, directory: Directory) -> None:
        self._hierarchy = hierarchy
        self._previews = previews
        self._directory = directory

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="GET",
                path=f"{V1}/rooms/{{room_id}}/hierarchy",
                access=Access.USER,
                handler=self.hierarchy,
                limit="remote",
            ),
            Route(
                method="GET",
                path=f"{V1}/room_summary/{{room_id_or_alias}}",
                access=Access.OPTIONAL,
                handler=self.summary,
                limit="remote",
            ),
        ]

    async def hierarchy(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/hierarchy`."""
        query = request.query
        max_depth = query.integer("max_depth", MAX_DEPTH, minimum=0, maximum=MAX_DEPTH)
        limit = query.integer("limit", DEFAULT_PAGE, minimum=1, maximum=MAX_PAGE)
        page = await self._hierarchy.page(
            request.user.user_id,
            room_id_of(request),
            suggested_only=query.boolean("suggested_only"),
            max_depth=MAX_DEPTH if max_depth is None else max_depth,
            limit=limit or DEFAULT_PAGE,
            since=query.one("from"),
        )
        rooms = [
            {
                **msgspec.to_builtins(room.summary),
                "children_state": [msgspec.to_builtins(link.event) for link in room.children],
            }
            for room in page.rooms
        ]
        return (
            {"rooms": rooms} if page.next_batch is None else {"rooms": rooms, "next_batch": page.next_batch}
        )

    async def summary(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /room_summary/{roomIdOrAlias}`."""
        named, via = request.args["room_id_or_alias"], via_of(request)
        user_id = None if request.requester is None else request.requester.user_id
        if named.startswith("#"):
            alias = parse_room_alias(named)
            resolve = self._directory.resolve_local if user_id is None else self._directory.resolve
            target = await resolve(alias)
            room_id, via = target.room_id, [*via, *target.servers]
        else:
            room_id = parse_room_id(named)
        summed = await self._previews.summary(user_id, room_id, via)
        body: dict[str, Any] = msgspec.to_builtins(summed.summary)
        if summed.membership is not None:
            body["membership"] = summed.membership
        return body
