"""`GET /_matrix/federation/v1/version`: what this server is. Server-Server API, "Server implementation"."""

from __future__ import annotations

from typing import Any

from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class Version:
    """Tells the program's name and version."""

    def __init__(self, version: str) -> None:
        self._version = version

    def routes(self) -> list[Route]:
        """The one route."""
        return [
            Route(
                method="GET",
                path="/_matrix/federation/v1/version",
                access=Access.OPEN,
                handler=self.version,
                limit="federation_open",
            )
        ]

    async def version(self, request: ApiRequest) -> dict[str, Any]:  # noqa: ARG002
        """GET /_matrix/federation/v1/version"""
        return {"server": {"name": "minihs", "version": self._version}}
