"""Making events: one pass that checks, hashes, signs and names a new event.

This is on the path of every message, so each encoding is made once and used twice: the bytes that are signed
are those that the event ID covers. Answers to "Adding hashes and signatures to outgoing events" in the
server-server API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from minihs.events import canonical
from minihs.events.event import Event
from minihs.events.hashes import content_hash, essential_bytes, spell
from minihs.events.ids import EventID, RoomID, UserID
from minihs.events.limits import (
    MAX_DEPTH,
    EventTooLarge,
    InvalidEvent,
    check_key,
    check_links,
    check_size,
)
from minihs.events.redaction import redact
from minihs.events.signatures import Signer
from minihs.events.versions import RoomVersion

__all__ = ["EventTooLarge", "InvalidEvent", "build_event"]

STICKY = "msc4354_sticky"
"""Where an event says how long it is sticky; MSC4354, "Unstable Prefix". Not protected from redaction."""


def build_event(
    *,
    version: RoomVersion,
    signer: Signer,
    room_id: RoomID | None,
    type: str,  # noqa: A002 - the field's name
    sender: UserID,
    content: Mapping[str, Any],
    state_key: str | None,
    origin_server_ts: int,
    depth: int,
    prev_events: Sequence[EventID],
    auth_events: Sequence[EventID],
    redacts: EventID | None = None,
    sticky_duration_ms: int | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Event:
    """A new event, hashed and signed.

    `room_id` is `None` exactly for the create event of a room whose ID is that event's hash (v12). `content`
    is handed over and shared by the event; it must be strict canonical JSON in every room version. `redacts`
    goes where the version keeps it. `sticky_duration_ms` makes the event sticky (MSC4354). `fields`, strict
    as well, stand beside the content, as drafts of other event formats have them. `depth` stays at the limit
    once it has got there.

    Raises `InvalidEvent` for content that cannot be sent, `EventTooLarge` for sizes over the limits.
    """
    if redacts is not None and version.redacts_in_content:
        content = {**content, "redacts": redacts}
    try:
        canonical.check({"content": content, "type": type, "state_key": state_key})
    except canonical.NotCanonical as refused:
        raise InvalidEvent(str(refused)) from None
    check_key("type", type)
    check_links(prev_events, auth_events)

    pdu: dict[str, Any] = {
        "auth_events": list(auth_events),
        "content": content,
        "depth": min(depth, MAX_DEPTH),
        "origin_server_ts": origin_server_ts,
        "prev_events": list(prev_events),
        "sender": sender,
        "type": type,
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if state_key is not None:
        check_key("state_key", state_key)
        pdu["state_key"] = state_key
    if redacts is not None and not version.redacts_in_content:
        pdu["redacts"] = redacts
    if sticky_duration_ms is not None:
        pdu[STICKY] = {"duration_ms": sticky_duration_ms}  # MSC4354
    if fields is not None:
        pdu.update(fields)
    pdu["hashes"] = {"sha256": content_hash(pdu, strict=True)}

    essential = essential_bytes(redact(pdu, version), version)
    pdu["signatures"] = {signer.server_name: {signer.key_id: signer.signature_of(essential)}}
    check_size(pdu)
    event_id = EventID("$" + spell(sha256(essential).digest(), version))
    return Event(
        event_id=event_id,
        room_id=RoomID("!" + event_id[1:]) if room_id is None else room_id,
        type=type,
        sender=sender,
        state_key=state_key,
        content=content,
        origin_server_ts=origin_server_ts,
        depth=pdu["depth"],
        prev_events=tuple(prev_events),
        auth_events=tuple(auth_events),
        redacts=redacts,
        version=version,
        pdu=pdu,
    )
