"""Forgetting rooms: a user never hears again of a room that they have left.

When everybody here has forgotten a room, what is stored of it goes (`rooms.purging`). Source: Client-Server
API, "Leaving rooms", `POST /rooms/{roomId}/forget`.
"""

from __future__ import annotations

from collections.abc import Callable

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.errors import StillInRoom
from minihs.homeserver.member_change import PRESENT
from minihs.store.memberships import MembershipStore
from minihs.store.writer import Batch, Writer


class Forgetting:
    """Forgets rooms in their users' place.

    `note` adds rows to the batch with which a user forgets a room; `on_forgotten` is called when that is
    durable, which no event tells.
    """

    def __init__(
        self,
        *,
        memberships: MembershipStore,
        writer: Writer,
        note: Callable[[Batch, RoomID], None],
        on_forgotten: Callable[[UserID], None],
    ) -> None:
        self._memberships = memberships
        self._writer = writer
        self._note = note
        self._on_forgotten = on_forgotten

    async def forget(self, user_id: UserID, room_id: RoomID) -> None:
        """Never hear of a room again that the user has left; StillInRoom when they have not."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None or row.forgotten:
            return
        if row.membership in PRESENT:
            raise StillInRoom(f"Leave the room {room_id} before you forget it.")
        batch = Batch()
        self._memberships.forget(batch, user_id, room_id)
        self._note(batch, room_id)
        await self._writer.submit(batch)
        self._on_forgotten(user_id)
