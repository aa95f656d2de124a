"""Single events, auth chains, history and what is missing of it, events by time.

Source: Server-Server API, "Retrieving event authorisation information", "Backfilling and retrieving missing
events", "Retrieving events".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, ServerName, parse_event_id
from minihs.homeserver.elsewhere.serving import MAX_BACKFILL, MAX_MISSING_EVENTS, RoomServing
from minihs.http.errors import MatrixError
from minihs.http.federation_api.paths import LIMIT, V1, event_of, room_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.http.timestamps import direction_of, timestamp_of
from minihs.platform.clock import Clock


class MissingEventsBody(msgspec.Struct):
    """The body of `/get_missing_events`."""

    earliest_events: list[str]
    latest_events: list[str]
    limit: int = 10
    min_depth: int = 0


class Events:
    """The endpoints that hand out events."""

    def __init__(self, *, server_name: ServerName, clock: Clock, serving: RoomServing) -> None:
        self._server_name = server_name
        self._clock = clock
        self._serving = serving

    def routes(self) -> list[Route]:
        """The routes of this module."""
        get = {
            f"{V1}/event/{{event_id}}": self.event,
            f"{V1}/event_auth/{{room_id}}/{{event_id}}": self.event_auth,
            f"{V1}/backfill/{{room_id}}": self.backfill,
            f"{V1}/timestamp_to_event/{{room_id}}": self.timestamp_to_event,
        }
        return [
            *(
                Route(method="GET", path=path, access=Access.SERVER, handler=handler, limit=LIMIT)
                for path, handler in get.items()
            ),
            Route(
                method="POST",
                path=f"{V1}/get_missing_events/{{room_id}}",
                access=Access.SERVER,
                handler=self.get_missing_events,
                body=MissingEventsBody,
                limit=LIMIT,
            ),
        ]

    async def event(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/event/{eventId}"""
        return self._transaction([await self._serving.event(request.server, event_of(request))])

    async def event_auth(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}"""
        chain = await self._serving.event_auth(request.server, room_of(request), event_of(request))
        return {"auth_chain": [event.pdu for event in chain]}

    async def backfill(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/backfill/{roomId}"""
        request.query.required("v")
        limit = request.query.integer("limit", minimum=1, maximum=MAX_BACKFILL)
        if limit is None:
            raise MatrixError(400, "M_MISSING_PARAM", "The query parameter `limit` is missing.")
        event_ids = _event_ids(request.query.many("v"))
        events = await self._serving.backfill(request.server, room_of(request), event_ids, limit)
        return self._transaction(events)

    async def get_missing_events(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/federation/v1/get_missing_events/{roomId}"""
        body: MissingEventsBody = request.body
        events = await self._serving.missing_events(
            request.server,
            room_of(request),
            latest=_event_ids(body.latest_events),
            earliest=_event_ids(body.earliest_events),
            limit=max(0, min(body.limit, MAX_MISSING_EVENTS)),
            min_depth=body.min_depth,
        )
        return {"events": [event.pdu for event in events]}

    async def timestamp_to_event(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/timestamp_to_event/{roomId}"""
        found = await self._serving.timestamp_to_event(
            request.server, room_of(request), timestamp_of(request.query), direction_of(request.query)
        )
        answer: dict[str, Any] = msgspec.to_builtins(found)
        return answer

    def _transaction(self, events: Sequence[Event]) -> dict[str, Any]:
        return {
            "origin": self._server_name,
            "origin_server_ts": self._clock.wall_ms(),
            "pdus": [event.pdu for event in events],
        }


def _event_ids(texts: Sequence[str]) -> list[EventID]:
    return [parse_event_id(text) for text in texts]
