"""Space-rooms and what they hold: which `m.space.child` events count, and the order of the children.

Source: Client-Server API, "Spaces".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import (
    InvalidIdentifier,
    RoomID,
    ServerName,
    UserID,
    parse_room_id,
    parse_server_name,
)

SPACE = "m.space"
CHILD = "m.space.child"
MAX_VIA = 10
"""Servers of one `via` list that are looked at."""
_ORDER = re.compile(r"[\x20-\x7e]{1,50}")


class SpaceChild(msgspec.Struct, frozen=True, kw_only=True):
    """An `m.space.child` event as the hierarchy endpoints show it: stripped, with its time."""

    type: str
    state_key: str
    sender: UserID
    content: Mapping[str, Any]
    origin_server_ts: int

    @classmethod
    def of(cls, event: Event) -> SpaceChild:
        """What is shown of a state event."""
        return cls(
            type=event.type,
            state_key=event.state_key or "",
            sender=event.sender,
            content=event.content,
            origin_server_ts=event.origin_server_ts,
        )

    @property
    def is_suggested(self) -> bool:
        return self.content.get("suggested") is True


class ChildLink(msgspec.Struct, frozen=True):
    """A child of a space: the room, servers that may know it, and the event that says so."""

    room_id: RoomID
    via: tuple[ServerName, ...]
    event: SpaceChild


def children_of(events: Iterable[SpaceChild], *, suggested_only: bool, limit: int) -> tuple[ChildLink, ...]:
    """The first `limit` children that these events name, in the order in which spaces are shown.

    An event counts when its state key is a room ID and its `via` names a server.
    """
    links = [link for event in events if (link := _link(event)) is not None]
    if suggested_only:
        links = [link for link in links if link.event.is_suggested]
    links.sort(key=_place)
    first: dict[RoomID, ChildLink] = {}
    for link in links:
        first.setdefault(link.room_id, link)
    return tuple(first.values())[:limit]


def _link(event: SpaceChild) -> ChildLink | None:
    named = event.content.get("via")
    if event.type != CHILD or not isinstance(named, list):
        return None
    via: dict[ServerName, None] = {}
    for name in named[:MAX_VIA]:
        try:
            via[parse_server_name(name)] = None
        except InvalidIdentifier:
            continue
    try:
        return ChildLink(parse_room_id(event.state_key), tuple(via), event) if via else None
    except InvalidIdentifier:
        return None


def _place(link: ChildLink) -> tuple[bool, str, int, str]:
    """Children with a valid `order` come first, by it; then time, then room ID decide."""
    order = link.event.content.get("order")
    valid = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return (not valid, str(order) if valid else "", link.event.origin_server_ts, link.room_id)


def is_space(create_content: Mapping[str, Any]) -> bool:
    """Whether the content of an `m.room.create` makes the room a space-room."""
    return create_content.get("type") == SPACE
