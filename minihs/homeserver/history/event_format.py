"""Events as clients get to see them: the one place where any endpoint makes client events.

What of `unsigned` is for whom is decided here; whether the event may be seen at all is decided before.
Source: Client-Server API, "Room event format"; room versions, "Redactions" (`redacts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from minihs.events.build import STICKY
from minihs.events.event import Event
from minihs.events.ids import EventID, UserID
from minihs.platform.clock import Clock
from minihs.store.events import EventRow, EventStore

STRIPPED_STATE_TYPES = (
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.name",
    "m.room.encryption",
    "m.room.topic",
)
"""Source: Client-Server API, "Stripped state"."""


class Entry(msgspec.Struct, frozen=True):
    """An event at a place in a room's history, for one reader.

    `replaces` is the state event whose place it took; `membership` what the reader was to the room at the
    event, where that is known.
    """

    row: EventRow
    position: int
    replaces: EventID | None = None
    membership: str | None = None

    @property
    def event(self) -> Event:
        return self.row.event


class Reader(msgspec.Struct, frozen=True):
    """Whom events are rendered for. `event_fields` are split property paths; None: everything."""

    user_id: UserID
    device_id: str | None
    federation_format: bool = False
    event_fields: tuple[tuple[str, ...], ...] | None = None


class EventFormat:
    """Makes client events; asks the store for the events that `unsigned` quotes."""

    def __init__(self, events: EventStore, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    async def render_all(
        self, entries: Sequence[Entry], reader: Reader, *, room_id: bool
    ) -> list[dict[str, Any]]:
        """The client events of `entries`, in their order; with `room_id` where the reply does not say it."""
        quoted: dict[EventID, Event] = {}
        wanted = [
            event_id
            for entry in entries
            for event_id in (entry.replaces, entry.row.redacted_by)
            if event_id is not None
        ]
        if wanted:
            quoted = await self._events.events(wanted)
        now_ms = self._clock.wall_ms()
        return [_render(entry, reader, quoted, now_ms, room_id) for entry in entries]

    async def render_one(self, entry: Entry, reader: Reader) -> dict[str, Any]:
        """The client event of one entry, with its room ID."""
        return (await self.render_all([entry], reader, room_id=True))[0]

    async def render_rows(
        self, rows: Iterable[EventRow], reader: Reader, *, room_id: bool
    ) -> list[dict[str, Any]]:
        """The client events of state events, which are given without what they replaced."""
        return await self.render_all([Entry(row, row.position) for row in rows], reader, room_id=room_id)


def _render(
    entry: Entry, reader: Reader, quoted: Mapping[EventID, Event], now_ms: int, with_room_id: bool
) -> dict[str, Any]:
    row = entry.row
    event = row.event
    unsigned: dict[str, Any] = {"age": now_ms - event.origin_server_ts}
    if event.sender == reader.user_id:
        if row.txn_id is not None and row.device_id is not None and row.device_id == reader.device_id:
            unsigned["transaction_id"] = row.txn_id
        if row.delay_id is not None:
            unsigned["delay_id"] = row.delay_id
            unsigned["org.matrix.msc4140.delay_id"] = row.delay_id
    if entry.membership is not None:
        unsigned["membership"] = entry.membership
    if entry.replaces is not None:
        unsigned["replaces_state"] = entry.replaces
        replaced = quoted.get(entry.replaces)
        if replaced is not None:
            unsigned["prev_content"] = replaced.content
    if row.redacted_by is not None:
        redaction = quoted.get(row.redacted_by)
        if redaction is not None:
            unsigned["redacted_because"] = client_event(redaction, now_ms, with_room_id=with_room_id)
    if reader.federation_format:
        return {**event.pdu, "event_id": event.event_id, "unsigned": unsigned}
    rendered = client_event(event, now_ms, with_room_id=with_room_id)
    rendered["unsigned"] = unsigned
    return rendered if reader.event_fields is None else only_fields(rendered, reader.event_fields)


def client_event(event: Event, now_ms: int, *, with_room_id: bool) -> dict[str, Any]:
    """The event in the client format, with nothing but `age` in `unsigned`: the same for every reader."""
    rendered: dict[str, Any] = {
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "unsigned": {"age": now_ms - event.origin_server_ts},
    }
    if event.state_key is not None:
        rendered["state_key"] = event.state_key
    if with_room_id:
        rendered["room_id"] = event.room_id
    if STICKY in event.pdu:
        rendered[STICKY] = event.pdu[STICKY]
    if event.redacts is not None:
        # Room versions, "Redactions": clients of either age find `redacts` where they look for it.
        rendered["redacts"] = event.redacts
        if "redacts" not in event.content:
            rendered["content"] = {**event.content, "redacts": event.redacts}
    return rendered


def stripped_event(event: Event) -> dict[str, Any]:
    """The event as stripped state: Client-Server API, "Stripped state"."""
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": event.content,
    }


def only_fields(rendered: Mapping[str, Any], fields: Iterable[Sequence[str]]) -> dict[str, Any]:
    """The properties that `fields` name, as paths; what an event cannot be without is always there."""
    kept: dict[str, Any] = {
        name: rendered[name] for name in ("event_id", "type", "state_key", "room_id") if name in rendered
    }
    for path in sorted(fields, key=len):  # the whole of something before its parts
        source: Any = rendered
        for name in path:
            if not isinstance(source, Mapping) or name not in source:
                break
            source = source[name]
        else:
            target = kept
            for name in path[:-1]:
                target = target.setdefault(name, {})
                if not isinstance(target, dict):  # a shorter path has brought the whole already
                    break
            else:
                target.setdefault(path[-1], source)
    return kept
