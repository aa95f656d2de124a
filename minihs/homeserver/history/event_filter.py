"""Filters of clients: their shape, and which events they let through.

Nothing is looked up here. Source: Client-Server API, "Filtering".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import msgspec

from minihs.events.event import Event
from minihs.homeserver.errors import InvalidParam

MAX_LIMIT = 1_000
MAX_FILTER_BYTES = 65_536
MAX_ENTRIES = 1_000  # types, senders or rooms in one list


class EventFilter(msgspec.Struct, frozen=True):
    """Which events of any kind."""

    limit: int | None = None
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    types: frozenset[str] | None = None
    not_types: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise ValueError("limit must not be negative")
        for entries in (self.senders, self.not_senders, self.types, self.not_types):
            if entries is not None and len(entries) > MAX_ENTRIES:
                raise ValueError(f"a list in a filter holds at most {MAX_ENTRIES} entries")


class RoomEventFilter(EventFilter, frozen=True):
    """Which events of rooms."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False


class RoomFilter(msgspec.Struct, frozen=True):
    """Which rooms, and which of their events."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()

    def lets_through(self, room_id: str) -> bool:
        """Whether the room is wanted at all."""
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)


class Filter(msgspec.Struct, frozen=True):
    """A filter of `/sync`."""

    event_fields: list[str] | None = None
    event_format: str = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()

    def __post_init__(self) -> None:
        if self.event_format not in ("client", "federation"):
            raise ValueError("event_format must be client or federation")
        if self.event_fields is not None and len(self.event_fields) > MAX_ENTRIES:
            raise ValueError(f"event_fields holds at most {MAX_ENTRIES} entries")


EVERYTHING = Filter()
EVERY_ROOM_EVENT = RoomEventFilter()

Predicate = Callable[[str, str], bool]
"""Whether (type, sender) passes."""


@lru_cache(maxsize=512)
def parse_filter(text: str) -> Filter:
    """The filter of `/sync` written as JSON; raises InvalidParam."""
    return cast(Filter, _parse(text, Filter))


@lru_cache(maxsize=512)
def parse_room_event_filter(text: str) -> RoomEventFilter:
    """The filter of `/messages` and `/context` written as JSON; raises InvalidParam."""
    return cast(RoomEventFilter, _parse(text, RoomEventFilter))


def raw_keys(text: str) -> dict[str, Any]:
    """The filter's top-level keys as they came, for parts of `/sync` that have a key of their own."""
    decoded = msgspec.json.decode(text)
    return decoded if isinstance(decoded, dict) else {}


def limit_of(event_filter: EventFilter, default: int) -> int:
    """How many events are wanted at most."""
    return default if event_filter.limit is None else min(event_filter.limit, MAX_LIMIT)


def predicate(event_filter: EventFilter) -> Predicate | None:
    """The filter's say about types and senders; None when it lets everything through."""
    types, not_types = event_filter.types, event_filter.not_types
    senders, not_senders = event_filter.senders, event_filter.not_senders
    if types is None and senders is None and not not_types and not not_senders:
        return None
    type_wanted = _matcher(types) if types is not None else None
    type_unwanted = _matcher(not_types) if not_types else None

    def passes(type_: str, sender: str) -> bool:
        return (
            (type_wanted is None or type_wanted(type_))
            and (type_unwanted is None or not type_unwanted(type_))
            and (senders is None or sender in senders)
            and sender not in not_senders
        )

    return passes


def room_predicate(event_filter: RoomEventFilter, room_id: str) -> Callable[[Event], bool] | None:
    """Whether an event of this room passes; None when all of them do."""
    if room_id in event_filter.not_rooms or (
        event_filter.rooms is not None and room_id not in event_filter.rooms
    ):
        return lambda _event: False
    by_type = predicate(event_filter)
    with_url = event_filter.contains_url
    if by_type is None and with_url is None:
        return None

    def passes(event: Event) -> bool:
        return (by_type is None or by_type(event.type, event.sender)) and (
            with_url is None or ("url" in event.content) == with_url
        )

    return passes


def field_paths(fields: list[str] | None) -> tuple[tuple[str, ...], ...] | None:
    """`event_fields` as split paths: Appendices, "Dot-separated property paths"."""
    if fields is None:
        return None
    return tuple(_split_path(field) for field in fields)


def _split_path(text: str) -> tuple[str, ...]:
    names, name, escaped = [], "", False
    for character in text:
        if escaped:
            name += character if character in ".\\" else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ".":
            names.append(name)
            name = ""
        else:
            name += character
    return (*names, name + "\\" if escaped else name)


def _matcher(patterns: frozenset[str]) -> Callable[[str], bool]:
    wild = sorted(pattern for pattern in patterns if "*" in pattern)
    if not wild:
        return patterns.__contains__
    pieces = [pattern.split("*") for pattern in wild]
    return lambda type_: type_ in patterns or any(_glob(parts, type_) for parts in pieces)


def _glob(parts: list[str], text: str) -> bool:
    """Whether `text` matches a pattern that was split at its stars (at least one star)."""
    first, *middle, last = parts
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)  # the leftmost match leaves the most room: no backtracking
    return True


def _parse(text: str, shape: type[Any]) -> Any:
    if len(text) > MAX_FILTER_BYTES:
        raise InvalidParam(f"The filter is longer than {MAX_FILTER_BYTES} characters.")
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidParam(f"The filter cannot be used: {error}.") from None
