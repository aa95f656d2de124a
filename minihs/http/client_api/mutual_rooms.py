"""`GET /mutual_rooms`: the rooms that two users are in. Source: Client-Server API, "Mutual rooms"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import parse_room_id, parse_user_id
from minihs.homeserver.errors import InvalidParam
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.memberships import MembershipStore

PAGE = 500


class MutualRooms:
    """Lists them, by room ID; a page's token is its last room."""

    def __init__(self, memberships: MembershipStore) -> None:
        self._memberships = memberships

    def routes(self) -> list[Route]:
        """The one route."""
        return [
            Route(
                method="GET",
                path="/_matrix/client/v1/mutual_rooms",
                access=Access.USER,
                handler=self.mutual_rooms,
                limit="read",
            )
        ]

    async def mutual_rooms(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /mutual_rooms`."""
        user_id, other = request.user.user_id, parse_user_id(request.query.required("user_id"))
        if other == user_id:
            raise InvalidParam("user_id must be somebody else.")
        token = request.query.one("from")
        after = "" if token is None else parse_room_id(token)
        rooms = await self._memberships.all_mutual(user_id, other)
        rest = [room_id for room_id in rooms if room_id > after]
        body: dict[str, Any] = {"joined": rest[:PAGE], "count": len(rooms)}
        if len(rest) > PAGE:
            body["next_batch"] = rest[PAGE - 1]
        return body
