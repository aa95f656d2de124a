"""Redactions: which event a redaction takes the content from, and whether it may.

From room version 3 on a redaction is an event like others for the auth rules; whether it *applies* is decided
when both events are here (room version 3, "Handling redactions"), in whichever order they come.
"""

from __future__ import annotations

from minihs.events.event import Event
from minihs.events.ids import UserID, server_name_of
from minihs.events.versions import RoomVersion
from minihs.homeserver.rooms.commits import Pending, RoomCommits
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.memory import RoomMemory
from minihs.homeserver.rooms.states import RoomStates
from minihs.rooms.power import CREATE, POWER_LEVELS, PowerLevels
from minihs.rooms.state_map import StateMap
from minihs.store.events import EventRow, EventStore


class RoomRedactions:
    """Finds targets and decides."""

    def __init__(self, events: EventStore, states: RoomStates, commits: RoomCommits) -> None:
        self._events = events
        self._states = states
        self._commits = commits

    async def apply(self, pending: Pending, event: Event, state_before: StateMap) -> None:
        """Redact what `event` redacts, and `event` itself if a redaction of it came first."""
        if event.redacts is not None:
            target = await self._states.maybe_row(event.redacts)
            if (
                target is not None
                and target.event.room_id == event.room_id
                and await self.applies(event.sender, event.version, target, state_before)
            ):
                self._commits.redact(pending, target, event)
        for redaction in await self._events.all_redactions_of(event.event_id):
            if redaction.event.room_id != event.room_id:
                continue
            target = EventRow(event=event, position=0)
            if await self.applies(redaction.event.sender, event.version, target, state_before):
                self._commits.redact(pending, target, redaction.event)
                break

    async def target_of(self, draft: EventDraft, room: RoomMemory) -> EventRow | None:
        """The event that one of our own redactions applies to; None when there is none."""
        if draft.redacts is None:
            return None
        target = await self._states.maybe_row(draft.redacts)
        if target is None or target.event.room_id != room.room_id:
            return None
        return target if await self.applies(draft.sender, room.version, target, room.state) else None

    async def applies(self, sender: UserID, version: RoomVersion, target: EventRow, state: StateMap) -> bool:
        """Whether `sender` may redact the target: by power, or as a user of the same server."""
        if target.redacted_by is not None:
            return False
        if server_name_of(sender) == server_name_of(target.event.sender):
            return True
        events = await self._states.events(
            [state[key] for key in (CREATE, POWER_LEVELS) if state.get(key) is not None]
        )
        by_key = {event.key: event for event in events.values()}
        if CREATE not in by_key:
            return False
        power = PowerLevels.of(by_key, version)
        return power.level_of(sender) >= power.redact
