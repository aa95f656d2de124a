"""Guests leave a room that stops letting guests in: Client-Server API, "Guest Access", server behaviour.

Whether they may join is checked in `membership`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.events.ids import RoomID, ServerName, UserID, server_name_of
from minihs.homeserver.errors import HomeserverError
from minihs.homeserver.room_actions.membership import GUEST_ACCESS, Membership
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.logs import Logger
from minihs.rooms.state_map import StateChange
from minihs.store.writer import Batch

log = Logger()


class GuestAccess:
    """An observer of rooms that lets this server's guests leave where they may no longer be."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        rooms: Rooms,
        membership: Membership,
        is_guest: Callable[[UserID], Awaitable[bool]],
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._membership = membership
        self._is_guest = is_guest

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """Nothing is stored with the event."""

    def event_failed(self, event: Event) -> None:
        """Nothing was done that must be undone."""

    def event_committed(self, committed: CommittedEvent) -> None:
        """See whether the room still lets guests in, when that has changed."""
        if any(change.key == GUEST_ACCESS for change in committed.state_changes):
            leaving = Deferred.fromCoroutine(self._see_guests_out(committed.event.room_id))
            leaving.addErrback(lambda failure: log.failure("guests could not leave", failure))

    async def _see_guests_out(self, room_id: RoomID) -> None:
        if await self._membership.lets_guests_in(room_id):
            return
        for user_id in await self._rooms.joined_users(room_id):
            if server_name_of(user_id) == self._server_name and await self._is_guest(user_id):
                try:
                    await self._membership.leave(
                        user_id, room_id, reason="This room no longer lets guests in."
                    )
                except HomeserverError as refusal:
                    log.warn("a guest stays in {room_id}: {why}", room_id=room_id, why=refusal.message)
