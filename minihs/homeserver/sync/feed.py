"""What keeps `/sync` up to date: follows the rooms, and wakes whom an event concerns."""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.event import Event
from minihs.events.ids import RoomID, UserID
from minihs.homeserver.history.event_visibility import EventVisibility
from minihs.homeserver.history.recent_events import RecentEvents
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.sync.notifier import Notifier
from minihs.homeserver.sync.typing import Typing
from minihs.homeserver.sync.user_rooms import UserRooms
from minihs.rooms.state_map import StateChange
from minihs.store.streams import Stream
from minihs.store.writer import Batch


class SyncFeed:
    """A `RoomObserver` that moves everything that `/sync` holds in memory, together and in one step.

    `position` is thus the newest event that all of it knows of.
    """

    def __init__(
        self,
        *,
        stream: Stream,
        recent: RecentEvents,
        user_rooms: UserRooms,
        visibility: EventVisibility,
        notifier: Notifier,
    ) -> None:
        self._stream = stream
        self._recent = recent
        self._user_rooms = user_rooms
        self._visibility = visibility
        self._notifier = notifier
        self._typing: Typing | None = None

    @property
    def position(self) -> int:
        """The newest event that has arrived here."""
        return self._recent.current

    def end_typing_in(self, typing: Typing) -> None:
        """Whoever leaves a room has stopped typing in it."""
        self._typing = typing

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """Nothing is stored beside an event."""

    def event_failed(self, event: Event) -> None:
        """Nothing was shown of an event that is not durable."""

    def event_committed(self, committed: CommittedEvent) -> None:
        """Take the event in and wake everybody who may see it."""
        event = committed.event
        changes = committed.state_changes
        self._recent.add(
            event.room_id,
            event.event_id,
            committed.position,
            changes,
            key=None if event.state_key is None else event.key,
            local=committed.local,
        )
        self._visibility.event_committed(event, local=committed.local)
        concerned = self._user_rooms.apply(event, committed.position, changes) if changes else []
        if self._typing is not None and event.membership in ("leave", "ban"):
            for user_id in concerned:
                self._typing.user_left(user_id, event.room_id)
        self._notifier.wake(self._user_rooms.watchers(event.room_id))
        if concerned:
            self._notifier.wake(concerned)

    def shown_to(self, user_id: UserID, committed: CommittedEvent) -> None:
        """One user is to see an event that is withheld from everybody else (`Sight` says so to readers)."""
        event = committed.event
        self._recent.add(event.room_id, event.event_id, committed.position, (), key=None, local=True)
        self._notifier.wake((user_id,))

    def membership_written(self, user_id: UserID) -> None:
        """A row of `memberships` was written otherwise than with an accepted event: an invite from a room
        that is not here, or its end. The row took a position of the stream of events, and is durable.
        """
        self._user_rooms.invalidate(user_id)
        self._recent.advance(self._stream.current)
        self._notifier.wake((user_id,))

    def wake_room(self, room_id: RoomID) -> None:
        """There is something new for everybody in the room."""
        self._notifier.wake(self._user_rooms.watchers(room_id))
