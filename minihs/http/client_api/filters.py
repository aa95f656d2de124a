"""Filters over HTTP. Source: client-server API, "Filtering"."""

from __future__ import annotations

from typing import Any

from minihs.homeserver.accounts.filters import MAX_FILTER_BYTES
from minihs.homeserver.accounts.filters import Filters as FilterService
from minihs.homeserver.accounts.users import check_is_self
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route


class Filters:
    """Uploading and reading back."""

    def __init__(self, filters: FilterService) -> None:
        self._filters = filters

    def routes(self) -> list[Route]:
        path = "/_matrix/client/v3/user/{user_id}/filter"
        return [
            Route(
                method="POST",
                path=path,
                access=Access.USER,
                handler=self.upload,
                limit="account_data",
                max_body=MAX_FILTER_BYTES,
                while_suspended=True,
            ),
            Route(method="GET", path=path + "/{filter_id}", access=Access.USER, handler=self.read),
        ]

    async def upload(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/user/{userId}/filter"""
        check_is_self(request.user.user_id, request.args["user_id"], "filters")
        _ = request.json  # anything but a JSON object is refused in the usual words
        return {"filter_id": await self._filters.add(request.user.user_id, request.raw_body)}

    async def read(self, request: ApiRequest) -> Reply:
        """GET /_matrix/client/v3/user/{userId}/filter/{filterId}"""
        check_is_self(request.user.user_id, request.args["user_id"], "filters")
        return Reply(body=await self._filters.get(request.user.user_id, request.args["filter_id"]))
