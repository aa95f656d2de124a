"""The state of a room at an event. Source: Server-Server API, "Retrieving events"."""

from __future__ import annotations

from typing import Any

from minihs.events.ids import parse_event_id
from minihs.homeserver.elsewhere.serving import RoomServing, StateAnswer
from minihs.http.federation_api.paths import LIMIT, V1, room_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class State:
    """`state` and `state_ids`."""

    def __init__(self, serving: RoomServing) -> None:
        self._serving = serving

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(method="GET", path=path, access=Access.SERVER, handler=handler, limit=LIMIT)
            for path, handler in (
                (f"{V1}/state/{{room_id}}", self.state),
                (f"{V1}/state_ids/{{room_id}}", self.state_ids),
            )
        ]

    async def state(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/state/{roomId}"""
        answer = await self._answer(request)
        return {
            "pdus": [event.pdu for event in answer.state],
            "auth_chain": [event.pdu for event in answer.auth_chain],
        }

    async def state_ids(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/state_ids/{roomId}"""
        answer = await self._answer(request)
        return {
            "pdu_ids": [event.event_id for event in answer.state],
            "auth_chain_ids": [event.event_id for event in answer.auth_chain],
        }

    async def _answer(self, request: ApiRequest) -> StateAnswer:
        event_id = parse_event_id(request.query.required("event_id"))
        return await self._serving.state(request.server, room_of(request), event_id)
