"""A room's state as one user may read it: now, as they left it, or as anybody may.

Whether single events may be read is another matter (`rooms.visibility`). Source: Client-Server API,
"Getting events for a room" and "Room Previews".
"""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.errors import Forbidden, UnknownRoom
from minihs.homeserver.member_change import MEMBER
from minihs.homeserver.rooms.service import Rooms
from minihs.rooms.state_map import StateMap
from minihs.store.events import EventRow, EventStore
from minihs.store.memberships import MembershipStore
from minihs.store.timeline import FIRST_LIVE_POSITION, TimelineStore

LATEST_POSITION = (1 << 63) - 1

MAX_MEMBERSHIP_CHANGES = 200
"""How far back somebody's own member events are followed to find when they were last joined."""


class RoomView:
    """Reads of rooms' state on behalf of users. Every method raises Forbidden for what is not theirs."""

    def __init__(
        self, *, rooms: Rooms, memberships: MembershipStore, events: EventStore, timeline: TimelineStore
    ) -> None:
        self._rooms = rooms
        self._memberships = memberships
        self._events = events
        self._timeline = timeline

    async def check_joined(self, user_id: UserID, room_id: RoomID) -> None:
        """Forbidden unless the user is joined."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None or row.membership != "join":
            raise Forbidden("You are not in this room.")

    async def check_present(self, user_id: UserID, room_id: RoomID) -> None:
        """Forbidden unless the user is joined, or anybody may read the room."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        if (row is None or row.membership != "join") and not await self._is_world_readable(room_id):
            raise Forbidden("You are not in this room.")

    async def state(self, user_id: UserID, room_id: RoomID) -> StateMap:
        """The current state for members, and for anybody where history is world-readable; for those who
        have left, the state of that moment."""
        left_with = await self._left_with(user_id, room_id)
        if left_with is None:
            return await self._rooms.current_state(room_id)
        return await self._state_after(left_with)

    async def state_at(self, user_id: UserID, room_id: RoomID, position: int) -> StateMap:
        """The room's state as it was at a position in the event stream, not later than `state`."""
        left_with = await self._left_with(user_id, room_id)
        if left_with is not None:
            row = await self._events.maybe_row(left_with)
            if row is not None and row.position <= position:
                return await self._state_after(left_with)
        found = await self._timeline.all_newest(
            room_id, after=FIRST_LIVE_POSITION - 1, upto=position, limit=1
        )
        if not found:
            return StateMap()
        # Not the state after that event: it may end one of several branches.
        while True:
            state = await self._rooms.current_state(room_id)
            changes = await self._timeline.all_state_changes(room_id, after=position, upto=LATEST_POSITION)
            if await self._rooms.current_state(room_id) is state:
                break
        before = {change.key: change.old for change in reversed(changes)}
        return state.update(
            ((key, old) for key, old in before.items() if old is not None),
            removed=[key for key, old in before.items() if old is None],
        )

    async def event(self, user_id: UserID, room_id: RoomID, key: tuple[str, str]) -> EventRow | None:
        """The event under one key of `state`; None when it is not set."""
        event_id = (await self.state(user_id, room_id)).get(key)
        return None if event_id is None else await self._events.maybe_row(event_id)

    async def rows(self, event_ids: Sequence[EventID]) -> list[EventRow]:
        """Events with what is stored of them, in their order."""
        found = await self._events.rows(event_ids)
        return [found[event_id] for event_id in event_ids if event_id in found]

    async def _left_with(self, user_id: UserID, room_id: RoomID) -> EventID | None:
        """The event that ended the user's stay, as of which they see the room; None: they see it as it is."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is not None and row.membership == "join":
            return None
        left_with = None
        if row is not None and not row.forgotten:
            left_with = await self._end_of_stay(user_id, row.event_id)
        if left_with is None and not await self._is_world_readable(room_id):
            raise Forbidden("You are not in this room and never were.")
        return left_with

    async def _end_of_stay(self, user_id: UserID, event_id: EventID) -> EventID | None:
        for _ in range(MAX_MEMBERSHIP_CHANGES):
            before = await self._rooms.state_before(event_id)
            previous = None if before is None else before.get((MEMBER, user_id))
            row = None if previous is None else await self._events.maybe_row(previous)
            if row is None:
                return None
            if row.event.membership == "join":
                return event_id
            event_id = row.event.event_id
        return None

    async def _is_world_readable(self, room_id: RoomID) -> bool:
        try:
            visibility = await self._rooms.state_event(room_id, "m.room.history_visibility")
        except UnknownRoom:
            return False
        return visibility is not None and visibility.content.get("history_visibility") == "world_readable"

    async def _state_after(self, event_id: EventID) -> StateMap:
        state = await self._rooms.state_after(event_id)
        return StateMap() if state is None else state
