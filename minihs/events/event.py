"""Events: immutable, parsed once at the edge, never half-valid.

Whether an event may be in its room is no question for this file (see `minihs.rooms.auth`). Answers to
"Event format" in the room versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from minihs.events import canonical
from minihs.events.hashes import event_id_of
from minihs.events.ids import (
    EventID,
    InvalidIdentifier,
    RoomID,
    UserID,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)
from minihs.events.limits import (
    MAX_DEPTH,
    MAX_LOOSE_DEPTH,
    EventTooLarge,
    InvalidEvent,
    check_key,
    check_links,
    check_size,
)
from minihs.events.redaction import redact
from minihs.events.versions import RoomVersion

__all__ = [
    "Event",
    "EventTooLarge",
    "InvalidEvent",
    "StateKey",
    "parse_event",
    "redact_event",
    "trusted_event",
]

StateKey: TypeAlias = tuple[str, str]
"""The type and state key under which a room's state holds an event."""

_encode = msgspec.json.Encoder().encode


class Event(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """One event of a room. A value that exists has passed `parse_event` or was made here.

    `content` and `pdu` are shared and to be read only: change nothing inside them.
    """

    event_id: EventID
    room_id: RoomID
    type: str
    sender: UserID
    state_key: str | None
    content: Mapping[str, Any]
    origin_server_ts: int
    depth: int
    prev_events: tuple[EventID, ...]
    auth_events: tuple[EventID, ...]
    redacts: EventID | None
    version: RoomVersion
    pdu: Mapping[str, Any]
    """The whole PDU as it was received and signed, without `unsigned`."""

    @property
    def is_state(self) -> bool:
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """Where the event stands in a room's state; for state events only."""
        if self.state_key is None:
            raise TypeError(f"{self.event_id} is not a state event")
        return (self.type, self.state_key)

    @property
    def membership(self) -> str | None:
        """The `membership` of an `m.room.member` event, where it is a string."""
        if self.type != "m.room.member":
            return None
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None

    def to_json_bytes(self) -> bytes:
        """The PDU as JSON, for the store and for other servers."""
        return _encode(self.pdu)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.event_id == other.event_id and self.pdu == other.pdu

    def __ne__(self, other: object) -> bool:
        # msgspec's own would compare identities.
        return not self == other

    def __hash__(self) -> int:
        return hash(self.event_id)


def parse_event(pdu: object, version: RoomVersion) -> Event:
    """An event from a PDU that came from outside: every shape and limit checked, its ID computed.

    Hashes and signatures are not verified here. Keys that no rule reads are kept, because hashes cover them.
    The create event of a version-12 room gets its room ID from its own hash.

    Raises `InvalidEvent` (`EventTooLarge` for sizes), and nothing else, for any JSON value.
    """
    if type(pdu) is not dict:
        raise InvalidEvent("an event must be a JSON object")
    if "unsigned" in pdu:
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    try:
        canonical.check(pdu, strict_integers=version.strict_canonical_json)
    except canonical.NotCanonical as refused:
        raise InvalidEvent(str(refused)) from None
    _check_shape(pdu, version)
    check_size(pdu)
    return trusted_event(pdu, version, event_id_of(pdu, version))


def trusted_event(pdu: Mapping[str, Any], version: RoomVersion, event_id: EventID) -> Event:
    """An event from a PDU that was checked before, as from our own store; nothing is checked again."""
    content = pdu["content"]
    event_type = pdu["type"]
    room_id = pdu.get("room_id")
    return Event(
        event_id=event_id,
        room_id=RoomID("!" + event_id[1:]) if room_id is None else room_id,
        type=event_type,
        sender=pdu["sender"],
        state_key=pdu.get("state_key"),
        content=content,
        origin_server_ts=pdu["origin_server_ts"],
        depth=pdu["depth"],
        prev_events=tuple(pdu["prev_events"]),
        auth_events=tuple(pdu["auth_events"]),
        redacts=_redacts(pdu, version) if event_type == "m.room.redaction" else None,
        version=version,
        pdu=pdu,
    )


def redact_event(event: Event) -> Event:
    """The event as it is once redacted: the same ID, room and signatures, essential content only."""
    pdu = redact(event.pdu, event.version)
    redacts = event.redacts if event.version.redacts_in_content else None
    return replace(event, pdu=pdu, content=pdu["content"], redacts=redacts)


def _redacts(pdu: Mapping[str, Any], version: RoomVersion) -> EventID | None:
    try:
        return parse_event_id((pdu["content"] if version.redacts_in_content else pdu).get("redacts"))
    except InvalidIdentifier:
        return None


def _check_shape(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    event_type = pdu.get("type")
    if type(event_type) is not str:
        raise InvalidEvent("type must be a string")
    check_key("type", event_type)
    if "state_key" in pdu:
        state_key = pdu["state_key"]
        if type(state_key) is not str:
            raise InvalidEvent("state_key must be a string where it is present")
        check_key("state_key", state_key)
    if type(pdu.get("content")) is not dict:
        raise InvalidEvent("content must be an object")

    prev_events = pdu.get("prev_events")
    auth_events = pdu.get("auth_events")
    if type(prev_events) is not list or type(auth_events) is not list:
        raise InvalidEvent("prev_events and auth_events must be lists of event IDs")
    check_links(prev_events, auth_events)

    try:
        parse_user_id(pdu.get("sender"))
        # The create event of a version-12 room is to have no room ID. Where it has one all the same, it is
        # an event that auth rule 1.2 rejects.
        if "room_id" in pdu or not (version.room_id_is_create_hash and event_type == "m.room.create"):
            parse_room_id(pdu.get("room_id"))
        for event_id in prev_events:
            parse_event_id(event_id)
        for event_id in auth_events:
            parse_event_id(event_id)
    except InvalidIdentifier as refused:
        raise InvalidEvent(str(refused)) from None

    # JSON has true and false beside numbers, and to Python they are integers.
    timestamp = pdu.get("origin_server_ts")
    if type(timestamp) is not int or not -MAX_LOOSE_DEPTH <= timestamp <= MAX_LOOSE_DEPTH:
        raise InvalidEvent("origin_server_ts must be an integer")
    depth = pdu.get("depth")
    max_depth = MAX_DEPTH if version.strict_canonical_json else MAX_LOOSE_DEPTH
    if type(depth) is not int or not 0 <= depth <= max_depth:
        raise InvalidEvent(f"depth must be an integer from 0 to {max_depth}")

    hashes = pdu.get("hashes")
    if type(hashes) is not dict or type(hashes.get("sha256")) is not str:
        raise InvalidEvent("hashes must be an object with a string sha256")
    signatures = pdu.get("signatures")
    if type(signatures) is not dict:
        raise InvalidEvent("signatures must be an object of objects of strings")
    for by_server in signatures.values():
        if type(by_server) is not dict:
            raise InvalidEvent("signatures must be an object of objects of strings")
        for signature in by_server.values():
            if type(signature) is not str:
                raise InvalidEvent("signatures must be an object of objects of strings")
