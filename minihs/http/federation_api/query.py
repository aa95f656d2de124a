"""What other servers may look up: aliases and profiles.

Source: Server-Server API, "Querying for information".
"""

from __future__ import annotations

from typing import Any

from minihs.events.ids import ServerName, parse_room_alias, parse_user_id, server_name_of
from minihs.homeserver.accounts.profiles import Profiles
from minihs.homeserver.room_actions.directory import Directory
from minihs.http.errors import MatrixError
from minihs.http.federation_api.paths import LIMIT, V1
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class Query:
    """`/query/directory` and `/query/profile`; other kinds of queries are unknown."""

    def __init__(self, *, server_name: ServerName, directory: Directory, profiles: Profiles) -> None:
        self._server_name = server_name
        self._directory = directory
        self._profiles = profiles

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(method="GET", path=path, access=Access.SERVER, handler=handler, limit=LIMIT)
            for path, handler in (
                (f"{V1}/query/directory", self.directory),
                (f"{V1}/query/profile", self.profile),
                (f"{V1}/query/{{query_type}}", self.unknown),
            )
        ]

    async def directory(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/query/directory"""
        alias = parse_room_alias(request.query.required("room_alias"))
        self._check_ours(alias)
        target = await self._directory.resolve_local(alias)
        return {"room_id": target.room_id, "servers": list(target.servers)}

    async def profile(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/query/profile"""
        user_id = parse_user_id(request.query.required("user_id"))
        self._check_ours(user_id)
        profile = await self._profiles.local_profile(user_id)
        field = request.query.one("field")
        if field is None:
            return dict(profile)
        return {field: profile[field]} if field in profile else {}

    async def unknown(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/query/{queryType}"""
        kind = request.args["query_type"]
        raise MatrixError(404, "M_UNRECOGNIZED", f"This server answers no queries of the kind {kind!r}.")

    def _check_ours(self, identifier: str) -> None:
        if server_name_of(identifier) != self._server_name:
            raise MatrixError(400, "M_INVALID_PARAM", f"{identifier} does not belong to {self._server_name}.")
