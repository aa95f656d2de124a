"""Which other servers may know a room that ours cannot speak for. Names are gathered; nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from minihs.events.ids import RoomID, ServerName, server_name_of
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.rooms.service import Rooms
from minihs.store.memberships import MembershipRow

MAX_KNOWN_SERVERS = 10
"""How many servers of a room that we left are tried after those that the request names."""


class KnownServers:
    """Names servers to ask about a room."""

    def __init__(self, *, server_name: ServerName, rooms: Rooms) -> None:
        self._server_name = server_name
        self._rooms = rooms

    async def to_ask(
        self, room_id: RoomID, row: MembershipRow | None, via: Sequence[ServerName]
    ) -> tuple[ServerName, ...]:
        """The caller's servers, that of whoever made the user's membership `row` (the inviter), that of the
        room ID (before version 12), and those of members; without ours and without repeats."""
        servers = list(via)
        if row is not None:
            servers.append(server_name_of(row.sender))
        if ":" in room_id:
            servers.append(server_name_of(room_id))
        with suppress(UnknownRoom):
            servers.extend((await self._rooms.joined_servers(room_id))[:MAX_KNOWN_SERVERS])
        return tuple(dict.fromkeys(name for name in servers if name != self._server_name))
