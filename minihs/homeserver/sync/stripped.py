"""Invites and knocks: rooms of which the user sees stripped state only.

Source: Client-Server API, `GET /sync` (`invite_state`, `knock_state`), "Stripped state".
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.event import StateKey
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.history.event_format import STRIPPED_STATE_TYPES, stripped_event
from minihs.homeserver.rooms.service import Rooms
from minihs.store.events import EventStore
from minihs.store.timeline import MembershipRecord


class StrippedRooms:
    """Makes the entries of `rooms.invite` and `rooms.knock`."""

    def __init__(self, rooms: Rooms, events: EventStore) -> None:
        self._rooms = rooms
        self._events = events

    async def entry(self, user_id: str, record: MembershipRecord) -> dict[str, Any]:
        """The entry for a room to which the user is invited, or on which they have knocked."""
        key = "invite_state" if record.membership == "invite" else "knock_state"
        own = await self._events.maybe_event(record.event_id)
        events = await self._from_afar(record)
        if events is None:
            events = await self._from_here(record)
        if own is None:  # an invite from afar is kept as it was told, the invite itself included
            return {key: {"events": events}}
        kept = [event for event in events if (event.get("type"), event.get("state_key")) != _member(user_id)]
        return {key: {"events": [*kept, stripped_event(own)]}}

    async def _from_afar(self, record: MembershipRecord) -> list[dict[str, Any]] | None:
        """What the other server sent along; None when the room is our own to describe."""
        stored = record.invite_state
        if stored is None:
            return None
        events = msgspec.json.decode(stored)
        return [
            {name: event[name] for name in ("type", "state_key", "sender", "content") if name in event}
            for event in events
            if isinstance(event, dict)
        ]

    async def _from_here(self, record: MembershipRecord) -> list[dict[str, Any]]:
        keys: list[StateKey] = [(type_, "") for type_ in STRIPPED_STATE_TYPES]
        keys.append(_member(record.sender))
        try:
            state = await self._rooms.state_events(record.room_id, keys)
        except UnknownRoom:
            return []
        return [stripped_event(state[key]) for key in keys if key in state]


def _member(user_id: str) -> StateKey:
    return ("m.room.member", user_id)
