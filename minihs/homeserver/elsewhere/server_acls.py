"""Whether another server may take part in a room, by the room's `m.room.server_acl`.

Applied on every inbound path that names a room. Source: Server-Server API, "Server Access Control Lists".
"""

from __future__ import annotations

from typing import Protocol

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.homeserver.errors import Forbidden
from minihs.rooms.server_acl import ServerACL
from minihs.store.cache import LruCache

COMPILED_LISTS = 1_000


class RoomState(Protocol):
    """What is needed of `Rooms`."""

    async def state_event(self, room_id: RoomID, event_type: str, state_key: str = "") -> Event | None: ...


class ServerACLs:
    """The lists of all rooms, compiled when first needed."""

    def __init__(self, rooms: RoomState) -> None:
        self._rooms = rooms
        self._compiled: LruCache[EventID, ServerACL] = LruCache(COMPILED_LISTS)

    async def allows(self, room_id: RoomID, server_name: ServerName) -> bool:
        """Whether the server may take part; UnknownRoom for a room that this server does not know."""
        event = await self._rooms.state_event(room_id, "m.room.server_acl")
        if event is None:
            return True
        acl = self._compiled.get(event.event_id)
        if acl is None:
            acl = ServerACL.of(event.content)
            self._compiled.put(event.event_id, acl)
        return acl.allows(server_name)

    async def check(self, room_id: RoomID, server_name: ServerName) -> None:
        """Raise Forbidden when the server may not take part."""
        if not await self.allows(room_id, server_name):
            raise Forbidden(f"The room's access control list keeps {server_name} out.")
