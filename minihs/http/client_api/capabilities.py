"""What this server can and cannot. Source: client-server API, "Capabilities negotiation"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minihs.events.versions import SUPPORTED
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

Contribution = Callable[[], Mapping[str, Any]]
"""Gives capabilities of another part of the server, such as those of futures."""


class Capabilities:
    """`default_room_version` is that of the settings; `contributions` are asked each time."""

    def __init__(self, default_room_version: str, contributions: Sequence[Contribution] = ()) -> None:
        self._contributions = tuple(contributions)
        self._capabilities: dict[str, Any] = {
            "m.3pid_changes": {"enabled": False},
            "m.change_password": {"enabled": True},
            "m.forget_forced_upon_leave": {"enabled": False},
            "m.get_login_token": {"enabled": False},
            "m.profile_fields": {"enabled": True},
            "m.room_versions": {
                "default": default_room_version,
                "available": dict.fromkeys(SUPPORTED, "stable"),
            },
            "m.set_avatar_url": {"enabled": True},
            "m.set_displayname": {"enabled": True},
        }

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/_matrix/client/v3/capabilities",
                access=Access.USER,
                handler=self.capabilities,
            )
        ]

    async def capabilities(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/capabilities"""
        capabilities = dict(self._capabilities)
        for contribution in self._contributions:
            capabilities.update(contribution())
        if request.user.is_admin:
            capabilities["m.account_moderation"] = {"suspend": True, "lock": True}
        return {"capabilities": capabilities}
