"""`POST /createRoom`. Source: Client-Server API, "Creation"."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from minihs.events.ids import parse_user_id
from minihs.events.versions import RoomVersion, supported
from minihs.homeserver.room_actions.creation import PRESETS, InitialState, NewRoom, RoomCreation
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class StateBody(msgspec.Struct):
    """An entry of `initial_state`."""

    type: str
    content: dict[str, Any]
    state_key: str = ""


class CreateRoomBody(msgspec.Struct):
    """The body of `POST /createRoom`."""

    visibility: Literal["public", "private"] = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] = []
    invite_3pid: list[Any] = []
    room_version: str | None = None
    creation_content: dict[str, Any] = {}
    initial_state: list[StateBody] = []
    preset: Literal["private_chat", "public_chat", "trusted_private_chat"] | None = None
    is_direct: bool = False
    power_level_content_override: dict[str, Any] = {}


class CreateRoom:
    """Makes rooms. `default_version` is that of rooms whose request names none."""

    def __init__(self, creation: RoomCreation, default_version: RoomVersion) -> None:
        self._creation = creation
        self._default_version = default_version

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="POST",
                path="/_matrix/client/v3/createRoom",
                access=Access.MEMBER,
                handler=self.create,
                body=CreateRoomBody,
                limit="create_room",
            )
        ]

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /createRoom`."""
        body: CreateRoomBody = request.body
        if body.invite_3pid:
            raise MatrixError(
                403,
                "M_FORBIDDEN",
                "This server sends no invites by e-mail or phone: name users by their ID.",
            )
        preset = body.preset or ("public_chat" if body.visibility == "public" else "private_chat")
        version = self._default_version if body.room_version is None else supported(body.room_version)
        wanted = NewRoom(
            version=version,
            preset=PRESETS[preset],
            published=body.visibility == "public",
            alias_localpart=body.room_alias_name,
            name=body.name,
            topic=body.topic,
            invite=tuple(dict.fromkeys(parse_user_id(name) for name in body.invite)),
            creation_content=body.creation_content,
            initial_state=[
                InitialState(entry.type, entry.content, entry.state_key) for entry in body.initial_state
            ],
            power_levels=body.power_level_content_override,
            is_direct=body.is_direct,
        )
        return {"room_id": await self._creation.create(request.user.user_id, wanted)}
