"""Which part of a room's history a sync is about: decided from the user's memberships, then and now."""

from __future__ import annotations

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.history.event_visibility import FOR_EVER, EventVisibility, Viewer
from minihs.homeserver.history.room_history import RoomHistory
from minihs.store.events import EventStore
from minihs.store.timeline import MembershipRecord


class RoomPlan(msgspec.Struct, frozen=True):
    """What to tell of one room: events with `after` < position ≤ `upto`.

    `full_state`: the client has no state of the room to start from. `own_event_only`: the user was never in
    the room as far as this sync goes, and hears only how the invite or knock ended. `returning`: the user had
    been in the room before `after`, and nobody knows how much of that the client has: there is a gap.
    """

    viewer: Viewer
    after: int
    upto: int
    full_state: bool
    own_event_only: bool = False
    returning: bool = False

    @property
    def room_id(self) -> RoomID:
        return self.viewer.room_id


class RoomPlanner:
    """Makes the plans."""

    def __init__(self, history: RoomHistory, events: EventStore, visibility: EventVisibility) -> None:
        self._history = history
        self._events = events
        self._visibility = visibility

    async def joined(
        self, user_id: UserID, record: MembershipRecord, since: int | None, now: int, *, full_state: bool
    ) -> RoomPlan:
        """The plan for a room that the user is joined to."""
        viewer = Viewer(user_id, record.room_id, "join", record.position, FOR_EVER)
        if since is None:
            return RoomPlan(viewer, 0, now, full_state=True)
        if record.position <= since or await self._was_joined(user_id, record.room_id, since, now):
            return RoomPlan(viewer, since, now, full_state)
        # Joined since the token. A client that was here before has everything up to when it left.
        left = await self._visibility.last_joined(user_id, record.room_id, upto=since)
        return RoomPlan(viewer, left, now, full_state=True, returning=left > 0)

    async def left(
        self, user_id: UserID, record: MembershipRecord, since: int | None, now: int, *, full_state: bool
    ) -> RoomPlan:
        """The plan for a room that the user has left, been removed from, or whose invite or knock is over."""
        room_id = record.room_id
        until = await self._visibility.last_joined(user_id, room_id, upto=now)
        viewer = Viewer(user_id, room_id, record.membership, record.position, until)
        if since is None:
            return RoomPlan(viewer, 0, until, full_state=True, own_event_only=until == 0)
        if until > since:
            known = await self._was_joined(user_id, room_id, since, now)
            # Joined and left again since the token: the room is new to the client.
            after = since if known else await self._visibility.last_joined(user_id, room_id, upto=since)
            return RoomPlan(viewer, after, until, full_state or not known, returning=not known and after > 0)
        return RoomPlan(viewer, since, record.position, full_state=False, own_event_only=True)

    async def _was_joined(self, user_id: UserID, room_id: RoomID, since: int, now: int) -> bool:
        key = ("m.room.member", user_id)
        for change in await self._history.state_changes(room_id, after=since, upto=now):
            if change.key == key:
                event = None if change.old is None else await self._events.maybe_event(change.old)
                return event is not None and event.membership == "join"
        return False
