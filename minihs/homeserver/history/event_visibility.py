"""Which events of a room a user may see: gathers the facts, `rooms.visibility` judges.

In the common case (the user is joined, and no state of the room ever hid anything from members) nothing is
looked up per event. Otherwise the two state keys that matter are read for all distinct states of a page at
once, and remembered. Source: Client-Server API, "Room History Visibility".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.history.event_format import Entry
from minihs.homeserver.history.idle_redactions import IdleRedactions
from minihs.homeserver.history.recent_events import RecentEvents
from minihs.rooms.visibility import VISIBILITY_KEY, HistoryVisibility, may_see, visibility_in
from minihs.store.cache import LruCache
from minihs.store.events import EventStore
from minihs.store.timeline import MembershipRecord, TimelineStore

CACHED_ROOMS = 10_000
CACHED_STATES = 20_000
FOR_EVER = 1 << 62
_NOTHING = EventID("")
OPEN = (HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED)


class Viewer(msgspec.Struct, frozen=True):
    """A user before one room.

    `membership` is the current one and `since` the position of its last change; events up to `joined_until`
    were before the user, or while the user was, last joined (0: never joined).
    """

    user_id: UserID
    room_id: RoomID
    membership: str
    since: int
    joined_until: int

    @property
    def member_key(self) -> StateKey:
        return ("m.room.member", self.user_id)


class _Around(msgspec.Struct, frozen=True):
    """The facts at one state: the history visibility and the user's membership."""

    visibility: HistoryVisibility
    membership: str | None


class Sight(Protocol):
    """What one user is shown of an event that the room's history lets them see."""

    def seen(self, user_id: UserID, entry: Entry) -> Entry | None:
        """The entry, another form of it, or None: it is not for this user."""


class EventVisibility:
    """Says who may see which events. `sight` is for experiments in which users of one server see different
    things; it is asked last."""

    def __init__(
        self,
        timeline: TimelineStore,
        events: EventStore,
        recent: RecentEvents,
        sight: Sight | None = None,
    ) -> None:
        self._timeline = timeline
        self._events = events
        self._recent = recent
        self._sight = sight
        self._idle_redactions = IdleRedactions(timeline, events)
        self._generation = 0
        self._open_rooms: LruCache[RoomID, bool] = LruCache(CACHED_ROOMS)
        self._states: LruCache[tuple[int, UserID], _Around] = LruCache(CACHED_STATES)

    async def viewer(self, user_id: UserID, room_id: RoomID, record: MembershipRecord | None) -> Viewer:
        """The user before the room, from what they are to it now."""
        if record is None:
            return Viewer(user_id, room_id, "leave", 0, 0)
        if record.membership == "join":
            return Viewer(user_id, room_id, "join", record.position, FOR_EVER)
        until = await self.last_joined(user_id, room_id, upto=FOR_EVER)
        return Viewer(user_id, room_id, record.membership, record.position, until)

    async def last_joined(self, user_id: UserID, room_id: RoomID, *, upto: int) -> int:
        """The position up to which the user was joined, looking no later than `upto`; 0: never.

        It is the position of the event that ended the membership, and FOR_EVER when nothing had ended it.
        """
        changes = await self._timeline.all_changes_of_key(room_id, ("m.room.member", user_id))
        changes = [change for change in changes if change.position <= upto]
        members = await self._events.events(
            event_id for change in changes for event_id in (change.old, change.new) if event_id is not None
        )
        for change in reversed(changes):
            if _membership_of(members, change.new) == "join":
                return FOR_EVER
            if _membership_of(members, change.old) == "join":
                return change.position
        return 0

    async def is_open(self, room_id: RoomID) -> bool:
        """Whether in every state of the room history has been open to all who are joined now."""
        known = self._open_rooms.get(room_id)
        if known is not None:
            return known
        generation = self._generation
        ids = await self._timeline.all_visibility_events(room_id)
        events = (await self._events.events(ids)).values()
        is_open = all(visibility_in(event.content) in OPEN for event in events)
        if generation == self._generation:  # nothing arrived while the store was asked
            self._open_rooms.put(room_id, is_open)
        return is_open

    def event_committed(self, event: Event, *, local: bool) -> None:
        """Forget what the event may have changed. An event from elsewhere may bring states along that no
        event of ours had."""
        if not local or event.type == VISIBILITY_KEY[0]:
            self._generation += 1
            self._open_rooms.discard(event.room_id)

    async def visible(self, viewer: Viewer, entries: Sequence[Entry]) -> list[Entry]:
        """Those of `entries` that the viewer may see, with the membership at each filled in."""
        if idle := await self._idle_redactions.withheld(entries):
            entries = [entry for entry in entries if entry.event.event_id not in idle]
        if viewer.membership == "join" and await self.is_open(viewer.room_id):
            unclear = [entry for entry in entries if not self._obviously_joined(viewer, entry)]
            around = await self._around(viewer, unclear) if unclear else {}
        else:
            around = await self._around(viewer, entries)
            entries = [entry for entry in entries if self._allowed(viewer, entry, around)]
        seen = [replace(entry, membership=_membership_at(viewer, entry, around)) for entry in entries]
        if self._sight is None:
            return seen
        return [entry for each in seen if (entry := self._sight.seen(viewer.user_id, each)) is not None]

    def _obviously_joined(self, viewer: Viewer, entry: Entry) -> bool:
        """Whether the viewer was surely joined at the event: it was built here on the room's own state."""
        return entry.position >= viewer.since and self._recent.is_local(viewer.room_id, entry.position)

    def _allowed(self, viewer: Viewer, entry: Entry, around: dict[EventID, _Around]) -> bool:
        before = around.get(entry.event.event_id)
        return before is not None and may_see(
            entry.event,
            viewer.user_id,
            visibility=before.visibility,
            membership=before.membership,
            joins_later=entry.position < viewer.joined_until,
        )

    async def _around(self, viewer: Viewer, entries: Iterable[Entry]) -> dict[EventID, _Around]:
        """The facts before each event whose state is known."""
        groups: dict[EventID, int] = {
            entry.event.event_id: entry.row.before_group
            for entry in entries
            if entry.row.before_group is not None
        }
        found: dict[int, _Around] = {}
        for group in sorted(set(groups.values())):
            known = self._states.get((group, viewer.user_id))
            if known is not None:
                found[group] = known
        absent = [group for group in sorted(set(groups.values())) if group not in found]
        if absent:
            states = await self._timeline.state_entries(absent, [VISIBILITY_KEY, viewer.member_key])
            events = await self._events.events(
                event_id for group in absent for _, event_id in sorted(states[group].items())
            )
            for group in absent:
                setting = events.get(states[group].get(VISIBILITY_KEY, _NOTHING))
                facts = _Around(
                    visibility_in(None if setting is None else setting.content),
                    _membership_of(events, states[group].get(viewer.member_key)),
                )
                found[group] = facts
                self._states.put((group, viewer.user_id), facts)
        return {event_id: found[group] for event_id, group in groups.items()}


def _membership_of(events: Mapping[EventID, Event], event_id: EventID | None) -> str | None:
    event = None if event_id is None else events.get(event_id)
    return None if event is None else event.membership


def _is_own_member_event(viewer: Viewer, event: Event) -> bool:
    return event.type == "m.room.member" and event.state_key == viewer.user_id


def _membership_at(viewer: Viewer, entry: Entry, around: Mapping[EventID, _Around]) -> str | None:
    """What the viewer was to the room at the event, its own change included; None: not known."""
    if _is_own_member_event(viewer, entry.event):
        return entry.event.membership
    before = around.get(entry.event.event_id)
    if before is not None:
        return before.membership or "leave"
    return "join" if entry.row.before_group is not None else None
