"""Our rooms and spaces for servers outside of them. Source: Server-Server API, "Spaces"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.homeserver.elsewhere.serving_spaces import SpaceServing
from minihs.http.federation_api.paths import LIMIT, V1, room_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class Spaces:
    """`/hierarchy`."""

    def __init__(self, serving: SpaceServing) -> None:
        self._serving = serving

    def routes(self) -> list[Route]:
        """The one route."""
        return [
            Route(
                method="GET",
                path=f"{V1}/hierarchy/{{room_id}}",
                access=Access.SERVER,
                handler=self.hierarchy,
                limit=LIMIT,
            )
        ]

    async def hierarchy(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/hierarchy/{roomId}"""
        answer = await self._serving.hierarchy(
            request.server, room_of(request), suggested_only=request.query.boolean("suggested_only")
        )
        links = [msgspec.to_builtins(link.event) for link in answer.links]
        return {
            "room": {**msgspec.to_builtins(answer.room), "children_state": links},
            "children": [msgspec.to_builtins(child) for child in answer.children],
            "inaccessible_children": answer.inaccessible,
        }
