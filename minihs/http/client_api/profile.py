"""Profiles over HTTP. Source: client-server API, "Profiles"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import parse_user_id
from minihs.homeserver.accounts.profiles import Profiles
from minihs.homeserver.accounts.users import check_is_self
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class Profile:
    """Whole profiles, and single fields of them."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def routes(self) -> list[Route]:
        whole = "/_matrix/client/v3/profile/{user_id}"
        field = whole + "/{field}"
        return [
            Route(method="GET", path=whole, access=Access.OPTIONAL, handler=self.whole, limit="remote"),
            Route(method="GET", path=field, access=Access.OPTIONAL, handler=self.field, limit="remote"),
            Route(method="PUT", path=field, access=Access.USER, handler=self.set_field, limit="profile"),
            Route(
                method="DELETE", path=field, access=Access.USER, handler=self.remove_field, limit="profile"
            ),
        ]

    async def whole(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/profile/{userId}"""
        return dict(await self._profiles.profile(parse_user_id(request.args["user_id"])))

    async def field(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/profile/{userId}/{keyName}"""
        field = request.args["field"]
        return {field: await self._profiles.field(parse_user_id(request.args["user_id"]), field)}

    async def set_field(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/profile/{userId}/{keyName}"""
        field = request.args["field"]
        check_is_self(request.user.user_id, request.args["user_id"], "profile")
        body = request.json
        if field not in body:
            raise MatrixError(400, "M_MISSING_PARAM", "The body lacks the field that the path names.")
        await self._profiles.set_field(request.user.user_id, field, body[field])
        return {}

    async def remove_field(self, request: ApiRequest) -> dict[str, Any]:
        """DELETE /_matrix/client/v3/profile/{userId}/{keyName}"""
        check_is_self(request.user.user_id, request.args["user_id"], "profile")
        await self._profiles.remove_field(request.user.user_id, request.args["field"])
        return {}
