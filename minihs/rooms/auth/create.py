"""Auth rules 1 and 4 of room version 12: creating a room, and rooms that do not federate.

Also what older versions ask of the room ID and of `creator`.
"""

from __future__ import annotations

from minihs.events.event import Event
from minihs.events.ids import InvalidIdentifier, parse_user_id, server_name_of
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth.verdict import Allowed, Refused


def authorise_create(event: Event, version: RoomVersion) -> Allowed | Refused:
    """Rule 1: `m.room.create`."""
    # v12 1.1, since v1
    if event.prev_events:
        return Refused("v12 1.1", "the create event must be the first of its room and have no prev_events")
    if version.room_id_is_create_hash:
        # v12 1.2, since v12
        if "room_id" in event.pdu:
            return Refused("v12 1.2", "the create event must have no room_id; its hash is the room ID")
    elif not _same_server(event.room_id, event.sender):
        # v11 1.2, until v11
        return Refused("v11 1.2", "the room ID must be of the server of the sender")
    # v12 1.3, since v1. Rooms of versions 1 and 2 never get this far: their events have another format.
    room_version = event.content.get("room_version", version.id)
    if not isinstance(room_version, str) or room_version not in ROOM_VERSIONS:
        return Refused("v12 1.3", "room_version is not a version that is known here")
    # v12 1.4, since v12
    if version.privileged_creators and not _are_user_ids(event.content.get("additional_creators", [])):
        return Refused("v12 1.4", "additional_creators must be a list of user IDs")
    # v10 1.4, until v10
    if version.creator_in_content and "creator" not in event.content:
        return Refused("v10 1.4", "the create event must name its creator")
    return Allowed("v12 1.5")


def may_federate(create: Event, event: Event) -> Refused | None:
    """Rule 4: a room that is closed to other servers."""
    # v12 4, since v1
    if create.content.get("m.federate") is False and not _same_server(create.sender, event.sender):
        return Refused("v12 4", "the room does not federate and the sender is of another server")
    return None


def _same_server(one: str, other: str) -> bool:
    try:
        return server_name_of(one) == server_name_of(other)
    except InvalidIdentifier:
        return False


def _are_user_ids(value: object) -> bool:
    if type(value) is not list:
        return False
    try:
        for user in value:
            parse_user_id(user)
    except InvalidIdentifier:
        return False
    return True
