"""`PUT /rooms/{roomId}/typing/{userId}`. Source: Client-Server API, "Typing Notifications"."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from minihs.events.ids import RoomID
from minihs.homeserver.sync.typing import DEFAULT_TIMEOUT_MS, Typing
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class TypingBody(msgspec.Struct):
    """The body: `timeout` in milliseconds matters only while typing."""

    typing: bool
    timeout: Annotated[int, msgspec.Meta(ge=0)] = DEFAULT_TIMEOUT_MS


class TypingApi:
    """Says that the user types."""

    def __init__(self, typing: Typing) -> None:
        self._typing = typing

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="PUT",
                path="/_matrix/client/v3/rooms/{room_id}/typing/{user_id}",
                access=Access.USER,
                handler=self.set,
                body=TypingBody,
                limit="ephemeral",
            )
        ]

    async def set(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT /rooms/{roomId}/typing/{userId}`."""
        body: TypingBody = request.body
        user_id = request.user.user_id
        if request.args["user_id"] != user_id:
            raise MatrixError(403, "M_FORBIDDEN", "You can only say of yourself that you are typing.")
        await self._typing.set(
            user_id, RoomID(request.args["room_id"]), body.timeout if body.typing else None
        )
        return {}
