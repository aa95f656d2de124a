"""Whether another server may take part in a room, by the room's `m.room.server_acl`.

Applied on every inbound path that names a room. Source: Server-Server API, "Server Access Control Lists".
"""

from __future__ import annotations

from typing import Protocol

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.homeserver.errors import Forbidden
from minihs.rooms.server_acl import ServerACL
from minihs.rooms.state_map import StateMap
from minihs.store.cache import LruCache
from minihs.store.events import EventRow

SERVER_ACL: StateKey = ("m.room.server_acl", "")
COMPILED_LISTS = 1_000


class RoomState(Protocol):
    """What is needed of `Rooms`."""

    async def newest_state(self, room_id: RoomID) -> StateMap: ...
    async def row(self, event_id: EventID) -> EventRow | None: ...


class ServerACLs:
    """The lists of all rooms, compiled when first needed; one that is still being written counts already, as
    it does for the events that follow it."""

    def __init__(self, rooms: RoomState) -> None:
        self._rooms = rooms
        self._compiled: LruCache[EventID, tuple[Event, ServerACL]] = LruCache(COMPILED_LISTS)

    async def allows(self, room_id: RoomID, server_name: ServerName) -> bool:
        """Whether the server may take part; UnknownRoom for a room that this server does not know."""
        event_id = (await self._rooms.newest_state(room_id)).get(SERVER_ACL)
        row = None if event_id is None else await self._rooms.row(event_id)
        return row is None or self._acl(row.event).allows(server_name)

    async def check(self, room_id: RoomID, server_name: ServerName) -> None:
        """Raise Forbidden when the server may not take part."""
        if not await self.allows(room_id, server_name):
            raise Forbidden(f"The room's access control list keeps {server_name} out.")

    def _acl(self, event: Event) -> ServerACL:
        compiled = self._compiled.get(event.event_id)
        if compiled is None or compiled[0] is not event:  # read anew, perhaps because it was redacted
            compiled = (event, ServerACL.of(event.content))
            self._compiled.put(event.event_id, compiled)
        return compiled[1]
