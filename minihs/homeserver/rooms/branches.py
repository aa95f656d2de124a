"""Branches: a room's forward extremities, how an event moves them, and how many a server may leave open.

Which event may be an extremity at all is for the receipt checks; the state that the branches make together
is for `placement`. Source: Server-Server API, "Definitions" ("forward extremity") and "Soft failure".
"""

from __future__ import annotations

from minihs.events.event import Event
from minihs.events.ids import EventID, server_name_of
from minihs.homeserver.rooms.memory import RoomMemory
from minihs.homeserver.rooms.states import RoomStates
from minihs.rooms.dag import extremities_after
from minihs.store.events import Standing

MAX_OF_ONE_SERVER = 10
"""Branches of a room that end with an event of one server. A server joins its own branches with the next
event that it makes, so an honest one has few; each costs us a state more to resolve with every event."""

MAX_REFUSED_PASSED = 500  # refused events that are walked to find what an event follows or is followed by


class RoomBranches:
    """Says which events are the newest of a room."""

    def __init__(self, states: RoomStates) -> None:
        self._states = states

    async def after(self, room: RoomMemory, event: Event) -> tuple[EventID, ...] | None:
        """The forward extremities once `event` is accepted, the latest to come first.

        None when they stay as they are, because what follows the event has come before it. What is refused
        (rejected or soft-failed) stands for nothing: the event follows what such events follow.
        """
        if await self._is_followed(event.event_id):
            return None
        if len(event.prev_events) == 1 and event.prev_events == room.extremities:
            return (event.event_id,)
        prevs_of_refused: dict[EventID, tuple[EventID, ...]] = {}
        to_visit = list(event.prev_events)
        while to_visit and len(prevs_of_refused) < MAX_REFUSED_PASSED:
            prev_id = to_visit.pop()
            if prev_id in prevs_of_refused or prev_id in room.extremities:
                continue
            row = await self._states.maybe_row(prev_id)
            if row is not None and row.standing in (Standing.REJECTED, Standing.SOFT_FAILED):
                prevs_of_refused[prev_id] = row.event.prev_events
                to_visit.extend(row.event.prev_events)
        return extremities_after(room.extremities, event, prevs_of_refused)

    async def is_one_too_many(self, room: RoomMemory, event: Event) -> bool:
        """Whether `event` opens another branch though its server has left MAX_OF_ONE_SERVER open."""
        if len(room.extremities) < MAX_OF_ONE_SERVER:
            return False
        after = await self.after(room, event)
        if after is None or len(after) <= len(room.extremities):
            return False
        tips = await self._states.events(room.extremities)
        server = server_name_of(event.sender)
        return sum(server_name_of(tip.sender) == server for tip in tips.values()) >= MAX_OF_ONE_SERVER

    async def _is_followed(self, event_id: EventID) -> bool:
        """Whether something accepted follows the event, also by way of refused events."""
        seen: set[EventID] = set()
        to_visit = [event_id]
        while to_visit and len(seen) < MAX_REFUSED_PASSED:
            for child in await self._states.children(to_visit.pop()):
                if child.standing is Standing.ACCEPTED:
                    return True
                if child.event.event_id not in seen and not child.standing.is_outlier:
                    seen.add(child.event.event_id)
                    to_visit.append(child.event.event_id)
        return False
