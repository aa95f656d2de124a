"""`.well-known`: where to find this server, for clients, for servers, and whom to ask for help.

Source: client-server API, "Well-known URIs" and "Support"; server-server API, "Resolving server names".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class WellKnownSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What to say; what is None is answered with 404, which sends whoever asks on to the next step."""

    client_base_url: str | None = None
    server: str | None = None
    """`host[:port]` of the federation listener as others reach it."""
    support: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """`contacts` and `support_page`."""

    @property
    def client(self) -> dict[str, Any] | None:
        """The discovery information for clients, which a login repeats."""
        return {"m.homeserver": {"base_url": self.client_base_url}} if self.client_base_url else None


class WellKnown:
    """The three documents."""

    def __init__(self, settings: WellKnownSettings) -> None:
        self._settings = settings

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=f"/.well-known/matrix/{name}", access=Access.OPEN, handler=handler)
            for name, handler in (("client", self.client), ("server", self.server), ("support", self.support))
        ]

    async def client(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /.well-known/matrix/client"""
        return _or_not_found(self._settings.client)

    async def server(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /.well-known/matrix/server"""
        return _or_not_found({"m.server": self._settings.server} if self._settings.server else None)

    async def support(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /.well-known/matrix/support"""
        return _or_not_found(dict(self._settings.support) or None)


def _or_not_found(document: dict[str, Any] | None) -> dict[str, Any]:
    if document is None:
        raise MatrixError(404, "M_NOT_FOUND", "This server publishes no such information.")
    return document
