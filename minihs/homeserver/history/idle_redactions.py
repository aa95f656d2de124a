"""Redactions that redact nothing: clients believe a redaction, so they are not to see these.

The auth rules let everybody send redactions; one whose target is not here, or is not its sender's to redact,
stays in the room's graph and is withheld from clients. Source: room version 3, "Handling redactions".
"""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.ids import EventID
from minihs.homeserver.history.event_format import Entry
from minihs.rooms.redactions import DECIDING_STATE, by_own_server, by_power
from minihs.store.events import EventStore
from minihs.store.timeline import TimelineStore


class IdleRedactions:
    """Finds them in pages of events. Nothing is remembered: a target may still come."""

    def __init__(self, timeline: TimelineStore, events: EventStore) -> None:
        self._timeline = timeline
        self._events = events

    async def withheld(self, entries: Sequence[Entry]) -> set[EventID]:
        """Those of the entries that are redactions and apply to nothing that is here."""
        redactions = [entry for entry in entries if entry.event.type == "m.room.redaction"]
        if not redactions:
            return set()
        targets = await self._events.events(
            entry.event.redacts for entry in redactions if entry.event.redacts is not None
        )
        idle = {entry.event.event_id for entry in redactions}
        by_strangers: list[tuple[Entry, int]] = []
        for entry in redactions:
            event = entry.event
            target = None if event.redacts is None else targets.get(event.redacts)
            if target is None or target.room_id != event.room_id:
                continue
            if by_own_server(event.sender, target):
                idle.discard(event.event_id)
            elif entry.row.before_group is not None:
                by_strangers.append((entry, entry.row.before_group))
        if by_strangers:
            states = await self._timeline.state_entries({group for _, group in by_strangers}, DECIDING_STATE)
            deciding = await self._events.events(
                event_id for group in sorted(states) for _, event_id in sorted(states[group].items())
            )
            for entry, group in by_strangers:
                state = {key: deciding[event_id] for key, event_id in states[group].items()}
                if by_power(entry.event.sender, state, entry.event.version):
                    idle.discard(entry.event.event_id)
        return idle
