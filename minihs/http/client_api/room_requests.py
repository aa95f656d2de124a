"""What the endpoints of rooms have in common: reading identifiers, and which refusal an unknown room is.

Source: Client-Server API, "Common error codes"; appendices, "Identifier Grammar".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minihs.events.ids import RoomID, ServerName, parse_room_id, parse_server_name
from minihs.homeserver.errors import UnknownRoom
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest

MAX_VIA = 20
"""Servers that one request may name with `via`: each may be asked in turn."""


def room_id_of(request: ApiRequest) -> RoomID:
    """The `{room_id}` of the path."""
    return parse_room_id(request.args["room_id"])


def via_of(request: ApiRequest) -> list[ServerName]:
    """The servers that a request names with `via`, or `server_name` as it was called before v1.12."""
    named = request.query.many("via") or request.query.many("server_name")
    return [parse_server_name(name) for name in named[:MAX_VIA]]


@contextmanager
def only_members() -> Iterator[None]:
    """Answer for an unknown room as for one that the user is not in, where the specification knows no 404."""
    try:
        yield
    except UnknownRoom as error:
        raise not_a_member() from error


def not_a_member() -> MatrixError:
    """The refusal for a room that the user is not in, or that nobody here is."""
    return MatrixError(403, "M_FORBIDDEN", "You are not in this room.")
