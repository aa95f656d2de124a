"""Fully-read markers: account data that only this endpoint may set, with receipts moved on the way.

Source: Client-Server API, "Read and unread markers".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.errors import Forbidden, InvalidParam
from minihs.homeserver.sync.receipts import RECEIPT_TYPES, Receipts
from minihs.homeserver.sync.typing import JoinedCheck
from minihs.store.events import EventStore

FULLY_READ = "m.fully_read"

SetRoomData = Callable[[UserID, RoomID, str, Mapping[str, Any]], Awaitable[None]]
"""Stores an entry of a user's account data for a room; durable when it returns."""


class ReadMarkers:
    """Sets markers."""

    def __init__(
        self,
        *,
        receipts: Receipts,
        events: EventStore,
        is_joined: JoinedCheck,
        set_room_data: SetRoomData,
    ) -> None:
        self._receipts = receipts
        self._events = events
        self._is_joined = is_joined
        self._set_room_data = set_room_data

    async def move(self, user_id: UserID, room_id: RoomID, markers: Mapping[str, EventID]) -> None:
        """Set `m.fully_read`, `m.read` and `m.read.private` as far as they are named.

        Raises Forbidden when the user is not joined; InvalidParam when the fully-read event is not of
        the room (and then nothing is set).
        """
        if not await self._is_joined(user_id, room_id):
            raise Forbidden("You are not joined to this room.")
        fully_read = markers.get(FULLY_READ)
        if fully_read is not None:
            event = await self._events.maybe_event(fully_read)
            if event is None or event.room_id != room_id:
                raise InvalidParam("`m.fully_read` must name an event of this room.")
            await self._set_room_data(user_id, room_id, FULLY_READ, {"event_id": fully_read})
        for receipt_type in RECEIPT_TYPES:
            event_id = markers.get(receipt_type)
            if event_id is not None:
                await self._receipts.read_up_to(user_id, room_id, receipt_type, event_id)
