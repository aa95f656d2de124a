"""Redactions: which event a redaction takes the content from, and whether it may.

From room version 3 on a redaction is an event like others for the auth rules; whether it *applies* is decided
when both events are here (room version 3, "Handling redactions"), in whichever order they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, UserID
from minihs.events.versions import RoomVersion
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.memory import RoomMemory
from minihs.homeserver.rooms.states import RoomStates
from minihs.rooms.redactions import DECIDING_STATE, by_own_server, by_power
from minihs.rooms.state_map import StateMap
from minihs.store.events import EventRow


class RoomRedactions:
    """Finds targets and decides. A redaction is judged by the state before it, whichever event came first."""

    def __init__(self, states: RoomStates) -> None:
        self._states = states

    async def target_of(self, draft: EventDraft, room: RoomMemory) -> EventRow | None:
        """The event that one of our own redactions applies to; None when there is none."""
        if draft.redacts is None:
            return None
        return await self._target(draft.redacts, room.room_id, draft.sender, room.version, room.state)

    async def target(self, redaction: Event, state_before: StateMap) -> EventRow | None:
        """The event that is here already and that `redaction` applies to."""
        if redaction.redacts is None:
            return None
        return await self._target(
            redaction.redacts, redaction.room_id, redaction.sender, redaction.version, state_before
        )

    async def by_earlier(self, events: Iterable[Event]) -> dict[EventID, EventID]:
        """Which of these events, new here, are redacted, each with the redaction that was here before it."""
        by_id = {event.event_id: event for event in events}
        found: dict[EventID, EventID] = {}
        for row in await self._states.redactions_of(by_id):
            redaction = row.event
            if redaction.redacts is None or redaction.redacts in found or row.before_group is None:
                continue
            target = by_id[redaction.redacts]
            state = (await self._states.group(row.before_group)).state
            if redaction.room_id == target.room_id and await self.applies(
                redaction.sender, redaction.version, target, state
            ):
                found[target.event_id] = redaction.event_id
        return found

    async def in_history(self, events: Sequence[tuple[Event, StateMap]]) -> dict[EventID, EventID]:
        """What is redacted by or among these events, new here, each with the state before it."""
        found = await self.by_earlier(event for event, _ in events)
        by_id = {event.event_id: event for event, _ in events}
        for redaction, state in events:
            if redaction.redacts is None or redaction.redacts in found:
                continue
            target = by_id.get(redaction.redacts)
            if target is None:
                applies = await self.target(redaction, state) is not None
            else:
                applies = await self.applies(redaction.sender, redaction.version, target, state)
            if applies:
                found[redaction.redacts] = redaction.event_id
        return found

    async def applies(self, sender: UserID, version: RoomVersion, target: Event, state: StateMap) -> bool:
        """Whether `sender` may redact the target: by power, or as a user of the same server."""
        if by_own_server(sender, target):
            return True
        events = await self._states.events(
            [state[key] for key in DECIDING_STATE if state.get(key) is not None]
        )
        return by_power(sender, {event.key: event for event in events.values()}, version)

    async def _target(
        self, target_id: EventID, room_id: RoomID, sender: UserID, version: RoomVersion, state: StateMap
    ) -> EventRow | None:
        target = await self._states.maybe_row(target_id)
        if target is None or target.event.room_id != room_id or target.redacted_by is not None:
            return None
        return target if await self.applies(sender, version, target.event, state) else None
