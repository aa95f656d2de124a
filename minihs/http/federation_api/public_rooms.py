"""Our published rooms, for other servers. Source: Server-Server API, "Published Room Directory"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.homeserver.room_actions.published_rooms import PublishedRooms, Search
from minihs.http.errors import MatrixError
from minihs.http.federation_api.paths import LIMIT, V1
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class FilterBody(msgspec.Struct):
    """What to look for."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class SearchBody(msgspec.Struct):
    """The body of `POST /publicRooms`."""

    limit: int = 0
    since: str | None = None
    filter: FilterBody | None = None


class PublicRooms:
    """`/publicRooms`."""

    def __init__(self, published_rooms: PublishedRooms) -> None:
        self._published_rooms = published_rooms

    def routes(self) -> list[Route]:
        """The routes of this module."""
        path = f"{V1}/publicRooms"
        return [
            Route(method="GET", path=path, access=Access.SERVER, handler=self.listed, limit=LIMIT),
            Route(
                method="POST",
                path=path,
                access=Access.SERVER,
                handler=self.searched,
                body=SearchBody,
                limit=LIMIT,
            ),
        ]

    async def listed(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/publicRooms"""
        limit = request.query.integer("limit", default=0, minimum=0) or 0
        search = Search(limit=limit, since=request.query.one("since"))
        return dict(await self._published_rooms.local_page(search))

    async def searched(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/federation/v1/publicRooms"""
        body: SearchBody = request.body
        if body.limit < 0:
            raise MatrixError(400, "M_INVALID_PARAM", "The body's `limit` must not be negative.")
        wanted = body.filter or FilterBody()
        search = Search(
            limit=body.limit,
            since=body.since,
            term=wanted.generic_search_term,
            room_types=wanted.room_types,
        )
        return dict(await self._published_rooms.local_page(search))
