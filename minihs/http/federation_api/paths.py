"""The path prefixes of the Server-Server API, and how its handlers read room, event and user IDs.

A malformed identifier is answered with 400 `M_INVALID_PARAM` (`http.errors`).
"""

from __future__ import annotations

from minihs.events.ids import EventID, RoomID, parse_event_id, parse_room_id
from minihs.http.request import ApiRequest

V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"
LIMIT = "federation"


def room_of(request: ApiRequest) -> RoomID:
    """The `{room_id}` of the path."""
    return parse_room_id(request.args["room_id"])


def event_of(request: ApiRequest) -> EventID:
    """The `{event_id}` of the path."""
    return parse_event_id(request.args["event_id"])
