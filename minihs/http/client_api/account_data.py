"""Account data and tags over HTTP. Source: client-server API, "Client Config" and "Room Tagging"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import RoomID, parse_room_id
from minihs.homeserver.accounts.account_data import AccountData as AccountDataService
from minihs.homeserver.accounts.push_rules import PUSH_RULES
from minihs.homeserver.accounts.users import check_is_self
from minihs.homeserver.errors import InvalidParam
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

FULLY_READ = "m.fully_read"
TAGS = "m.tag"
SERVER_CONTROLLED = frozenset({PUSH_RULES, FULLY_READ})
"""Set through APIs of their own. `/sync` shows both as account data."""
MAX_TAG_BYTES = 255


class AccountData:
    """Private settings of a user, in all rooms and in one."""

    def __init__(self, account_data: AccountDataService) -> None:
        self._account_data = account_data

    def routes(self) -> list[Route]:
        user = "/_matrix/client/v3/user/{user_id}"
        room = user + "/rooms/{room_id}"
        settings: list[Route] = []
        for path in (f"{user}/account_data/{{type}}", f"{room}/account_data/{{type}}"):
            settings += [
                Route(method="GET", path=path, access=Access.USER, handler=self.read),
                Route(
                    method="PUT",
                    path=path,
                    access=Access.USER,
                    handler=self.write,
                    limit="account_data",
                    while_suspended=True,
                ),
            ]
        tag = f"{room}/tags/{{tag}}"
        return [
            *settings,
            Route(method="GET", path=f"{room}/tags", access=Access.USER, handler=self.tags),
            Route(
                method="PUT",
                path=tag,
                access=Access.USER,
                handler=self.add_tag,
                limit="account_data",
                while_suspended=True,
            ),
            Route(
                method="DELETE",
                path=tag,
                access=Access.USER,
                handler=self.remove_tag,
                limit="account_data",
                while_suspended=True,
            ),
        ]

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/user/{userId}/account_data/{type}, and the same of a room"""
        room_id = _room_of(request)
        return await self._account_data.get(request.user.user_id, room_id, request.args["type"])

    async def write(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/user/{userId}/account_data/{type}, and the same of a room"""
        room_id = _room_of(request)
        event_type = request.args["type"]
        if event_type in SERVER_CONTROLLED:
            raise MatrixError(
                405, "M_BAD_JSON", f"{event_type} cannot be set here: it has an API of its own."
            )
        await self._account_data.set(request.user.user_id, room_id, event_type, request.json)
        return {}

    async def tags(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags"""
        content = await self._account_data.maybe(request.user.user_id, _room_of(request), TAGS)
        return {"tags": _tags_in(content)}

    async def add_tag(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}"""
        room_id = _room_of(request)
        tag, details = request.args["tag"], request.json
        if not tag or len(tag.encode("utf-8")) > MAX_TAG_BYTES:
            raise InvalidParam(f"A tag has 1 to {MAX_TAG_BYTES} bytes.")
        order = details.get("order")
        if order is not None and (not isinstance(order, int | float) or isinstance(order, bool)):
            raise InvalidParam("The `order` of a tag must be a number.")

        def add(content: dict[str, Any] | None) -> dict[str, Any]:
            return {**(content or {}), "tags": {**_tags_in(content), tag: details}}

        await self._account_data.change(request.user.user_id, room_id, TAGS, add)
        return {}

    async def remove_tag(self, request: ApiRequest) -> dict[str, Any]:
        """DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}"""
        room_id = _room_of(request)

        def remove(content: dict[str, Any] | None) -> dict[str, Any] | None:
            tags = dict(_tags_in(content))
            if tags.pop(request.args["tag"], None) is None:
                return None
            return {**(content or {}), "tags": tags}

        await self._account_data.change(request.user.user_id, room_id, TAGS, remove)
        return {}


def _room_of(request: ApiRequest) -> RoomID | None:
    """The room that the path names, if it does; Forbidden for another user's path, InvalidIdentifier."""
    check_is_self(request.user.user_id, request.args["user_id"], "account data")
    room_id = request.args.get("room_id")
    return None if room_id is None else parse_room_id(room_id)


def _tags_in(content: dict[str, Any] | None) -> dict[str, Any]:
    """The tags of `m.tag`; a client may have put anything there through the general endpoint."""
    tags = (content or {}).get("tags")
    return tags if isinstance(tags, dict) else {}
