"""What both sides of the join, leave, knock and invite handshakes check and make.

Source: Server-Server API, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving Rooms".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.events.event import Event, InvalidEvent, StateKey, parse_event
from minihs.events.ids import EventID, RoomID, ServerName, server_name_of
from minihs.events.versions import SUPPORTED, RoomVersion, why_unsupported
from minihs.homeserver.errors import HomeserverError, InvalidParam, Unavailable
from minihs.homeserver.rooms.service import Rooms

# What tells a person which room they are invited to (client-server API, "Stripped state").
IDENTIFYING_STATE: tuple[StateKey, ...] = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)


class IncompatibleRoomVersion(HomeserverError):
    """The two servers have no room version in common (400 `M_INCOMPATIBLE_ROOM_VERSION`)."""

    def __init__(self, version_id: str) -> None:
        super().__init__(
            f"The room has version {version_id}, which the other server does not support."
            if version_id in SUPPORTED
            else why_unsupported(version_id)
        )
        self.version_id = version_id


def undecided(what: str, problem: Exception) -> Unavailable:
    """The answer when keys or events that would decide are not to be had: no verdict, and another server may
    have them."""
    return Unavailable(
        f"The {what} cannot be judged here at the moment: {problem} Try again later, or ask another server."
    )


def supported_version(version_id: str) -> RoomVersion:
    """The version, if this server takes part in such rooms; raises IncompatibleRoomVersion."""
    version = SUPPORTED.get(version_id)
    if version is None:
        raise IncompatibleRoomVersion(version_id)
    return version


def member_event(
    pdu: Mapping[str, Any],
    version: RoomVersion,
    *,
    origin: ServerName,
    room_id: RoomID,
    event_id: EventID,
    membership: str,
    about_sender: bool,
) -> Event:
    """The member event that another server submits, its signatures still unverified.

    It must be what the path says and what the endpoint is for; with `about_sender` its sender changes their
    own membership. Raises InvalidParam (the code that the endpoints ask for).
    """
    try:
        event = parse_event(pdu, version)
    except InvalidEvent as error:
        raise InvalidParam(f"The event is not valid: {error}") from error
    if event.event_id != event_id:
        raise InvalidParam(f"The event's ID is {event.event_id}, not {event_id} as in the path.")
    if event.room_id != room_id:
        raise InvalidParam(f"The event belongs to another room than {room_id}.")
    if event.type != "m.room.member" or event.membership != membership or event.state_key is None:
        raise InvalidParam(f"The event must be an m.room.member state event with membership {membership}.")
    if server_name_of(event.sender) != origin:
        raise InvalidParam(f"The event's sender must be a user of {origin}.")
    if about_sender and event.state_key != event.sender:
        raise InvalidParam("The event's state_key must be its sender.")
    return event


async def identifying_state(rooms: Rooms, room_id: RoomID, *more: StateKey) -> list[Event]:
    """The events that help somebody outside to tell which room this is, the create event first."""
    found = await rooms.state_events(room_id, (*IDENTIFYING_STATE, *more))
    return [found[key] for key in (*IDENTIFYING_STATE, *more) if key in found]
