"""The published room directory. Source: Client-Server API, "Published room directory"."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from minihs.events.ids import parse_server_name
from minihs.homeserver.errors import InvalidParam
from minihs.homeserver.room_actions.published_rooms import PublishedRooms, Search
from minihs.http.client_api.room_requests import room_id_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

VISIBILITY = "/_matrix/client/v3/directory/list/room/{room_id}"
PUBLIC_ROOMS = "/_matrix/client/v3/publicRooms"


class VisibilityBody(msgspec.Struct):
    """The body of `PUT /directory/list/room/{roomId}`."""

    visibility: Literal["private", "public"] = "public"


class FilterBody(msgspec.Struct):
    """The `filter` of a search."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class SearchBody(msgspec.Struct):
    """The body of `POST /publicRooms`."""

    limit: int | None = None
    since: str | None = None
    filter: FilterBody | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class PublicRooms:
    """Lists published rooms, and publishes them."""

    def __init__(self, published: PublishedRooms) -> None:
        self._published = published

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(method="GET", path=VISIBILITY, access=Access.OPEN, handler=self.visibility),
            Route(
                method="PUT",
                path=VISIBILITY,
                access=Access.MEMBER,
                handler=self.set_visibility,
                body=VisibilityBody,
                limit="directory",
            ),
            Route(
                method="GET", path=PUBLIC_ROOMS, access=Access.OPTIONAL, handler=self.list, limit="directory"
            ),
            Route(
                method="POST",
                path=PUBLIC_ROOMS,
                access=Access.MEMBER,
                handler=self.search,
                body=SearchBody,
                limit="directory",
            ),
        ]

    async def visibility(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /directory/list/room/{roomId}`."""
        published = await self._published.is_published(room_id_of(request))
        return {"visibility": "public" if published else "private"}

    async def set_visibility(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT /directory/list/room/{roomId}`."""
        user = request.user
        await self._published.publish(
            room_id_of(request),
            request.body.visibility == "public",
            user.user_id,
            is_admin=user.is_admin,
        )
        return {}

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /publicRooms`."""
        limit = request.query.integer("limit", 0, minimum=0) or 0
        return await self._page(request, Search(limit=limit, since=request.query.one("since")))

    async def search(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /publicRooms`."""
        return await self._page(request, _search_of(request.body))

    async def _page(self, request: ApiRequest, search: Search) -> dict[str, Any]:
        server = request.query.one("server")
        return dict(await self._published.page(search, None if server is None else parse_server_name(server)))


def _search_of(body: SearchBody) -> Search:
    """What a body asks for. There are no other networks here, so those fields choose nothing."""
    if body.limit is not None and body.limit < 0:
        raise InvalidParam("limit must not be negative.")
    wanted = body.filter or FilterBody()
    return Search(
        limit=body.limit or 0,
        since=body.since,
        term=wanted.generic_search_term,
        room_types=wanted.room_types,
    )
