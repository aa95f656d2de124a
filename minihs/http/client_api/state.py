"""Reading and setting a room's state. Source: Client-Server API, "Getting events for a room" and "Sending
events to a room"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import RoomID
from minihs.homeserver.errors import NotFound
from minihs.homeserver.history.event_format import EventFormat, Reader
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.room_actions.view import RoomView
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.http.client_api.room_requests import only_members, room_id_of
from minihs.http.client_api.send import Claim
from minihs.http.dialects.base import OrdinarySend
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route

STATE = "/_matrix/client/v3/rooms/{room_id}/state"


class State:
    """Reads and sets state."""

    def __init__(self, *, view: RoomView, event_format: EventFormat, sending: Sending, claim: Claim) -> None:
        self._view = view
        self._event_format = event_format
        self._sending = sending
        self._claim = claim

    def routes(self) -> list[Route]:
        """The routes of this module. The state key may be left out with its slash, or be empty behind it."""
        return [
            Route(method="GET", path=STATE, access=Access.USER, handler=self.all),
            *(
                Route(method=method, path=path, access=Access.USER, handler=handler, limit=limit)
                for path in (f"{STATE}/{{event_type}}", f"{STATE}/{{event_type}}/{{state_key}}")
                for method, handler, limit in (("GET", self.one, None), ("PUT", self.put, "send"))
            ),
        ]

    async def all(self, request: ApiRequest) -> Reply:
        """`GET /rooms/{roomId}/state`."""
        user = request.user
        state = await self._view.state(user.user_id, room_id_of(request))
        rows = await self._view.rows(list(state.values()))
        reader = Reader(user.user_id, user.device_id)
        return Reply(body=await self._event_format.render_rows(rows, reader, room_id=True))

    async def one(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /rooms/{roomId}/state/{eventType}/{stateKey}`."""
        user = request.user
        wanted = request.query.choice("format", ("content", "event"), "content")
        key = (request.args["event_type"], request.args.get("state_key", ""))
        row = await self._view.event(user.user_id, room_id_of(request), key)
        if row is None:
            raise NotFound("The room has no such state event.")
        if wanted == "content":
            return dict(row.event.content)
        reader = Reader(user.user_id, user.device_id)
        return (await self._event_format.render_rows([row], reader, room_id=True))[0]

    async def put(self, request: ApiRequest) -> Reply | dict[str, Any]:
        """`PUT /rooms/{roomId}/state/{eventType}/{stateKey}`."""
        args = request.args
        room_id, event_type, state_key = args["room_id"], args["event_type"], args.get("state_key", "")
        content = request.json
        claimed = self._claim(
            OrdinarySend(
                request=request,
                room_id=room_id,
                type=event_type,
                state_key=state_key,
                txn_id=None,
                content=content,
            )
        )
        if claimed is not None:
            return await claimed
        user = request.user
        draft = EventDraft(
            room_id=RoomID(room_id),
            sender=user.user_id,
            type=event_type,
            state_key=state_key,
            content=content,
            device_id=user.device_id,
        )
        with only_members():
            return {"event_id": await self._sending.send(draft, is_guest=user.is_guest)}
