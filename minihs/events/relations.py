"""What an event relates to. Source: Client-Server API, "Forming relationships between events"."""

from __future__ import annotations

from typing import NamedTuple

from minihs.events.event import Event
from minihs.events.ids import EventID


class Relation(NamedTuple):
    """The other event, and how this one relates to it."""

    relates_to: EventID
    rel_type: str


def relation_of(event: Event) -> Relation | None:
    """The event's relation; None without one, or when it has the wrong shape. A reply alone is none."""
    relates = event.content.get("m.relates_to")
    if not isinstance(relates, dict):
        return None
    target, rel_type = relates.get("event_id"), relates.get("rel_type")
    if not isinstance(target, str) or not isinstance(rel_type, str):
        return None
    return Relation(EventID(target), rel_type)
