"""Listing a room's members. Source: Client-Server API, "Getting events for a room"."""

from __future__ import annotations

from typing import Any

from minihs.events.event import Event
from minihs.homeserver.history.event_format import EventFormat, Reader
from minihs.homeserver.member_change import MEMBER
from minihs.homeserver.room_actions.state_content import MEMBERSHIPS
from minihs.homeserver.room_actions.view import RoomView
from minihs.homeserver.sync.positions import StreamToken
from minihs.http.client_api.room_requests import only_members, room_id_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.events import EventRow

ROOM = "/_matrix/client/v3/rooms/{room_id}"


class Members:
    """Lists members."""

    def __init__(self, view: RoomView, event_format: EventFormat) -> None:
        self._view = view
        self._event_format = event_format

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(method="GET", path=f"{ROOM}/members", access=Access.USER, handler=self.members),
            Route(
                method="GET", path=f"{ROOM}/joined_members", access=Access.MEMBER, handler=self.joined_members
            ),
        ]

    async def members(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/members`."""
        user = request.user
        room_id = room_id_of(request)
        wanted = request.query.choice("membership", MEMBERSHIPS)
        unwanted = request.query.choice("not_membership", MEMBERSHIPS)
        at = request.query.one("at")
        with only_members():
            if at is None:
                state = await self._view.state(user.user_id, room_id)
            else:
                position = StreamToken.parse(at, "at").event
                state = await self._view.state_at(user.user_id, room_id, position)
        rows = await self._view.rows([event_id for (kind, _), event_id in state.items() if kind == MEMBER])
        chosen = [row for row in rows if _is_wanted(row, wanted, unwanted)]
        reader = Reader(user.user_id, user.device_id)
        return {"chunk": await self._event_format.render_rows(chosen, reader, room_id=True)}

    async def joined_members(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/joined_members`."""
        user_id, room_id = request.user.user_id, room_id_of(request)
        await self._view.check_joined(user_id, room_id)
        state = await self._view.state(user_id, room_id)
        rows = await self._view.rows([event_id for (kind, _), event_id in state.items() if kind == MEMBER])
        joined = [row.event for row in rows if row.event.membership == "join"]
        return {"joined": {event.state_key: _profile(event) for event in joined}}


def _is_wanted(row: EventRow, wanted: str | None, unwanted: str | None) -> bool:
    """With both filters given, either is enough."""
    if wanted is None and unwanted is None:
        return True
    membership = row.event.membership
    return membership == wanted or (unwanted is not None and membership != unwanted)


def _profile(event: Event) -> dict[str, str]:
    names = (("displayname", "display_name"), ("avatar_url", "avatar_url"))
    found = {name: event.content.get(key) for key, name in names}
    return {name: value for name, value in found.items() if isinstance(value, str)}
