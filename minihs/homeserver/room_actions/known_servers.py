"""Which server can act in a room: ours, or which others are to be asked to.

Names are gathered; nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from minihs.events.ids import InvalidIdentifier, RoomID, ServerName, parse_user_id, server_name_of
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.rooms.service import Rooms
from minihs.store.memberships import MembershipRow, MembershipStore

MAX_KNOWN_SERVERS = 10
"""How many servers are tried of those that a room told of itself, or that were in it when we left."""


class KnownServers:
    """Names servers to ask about a room. `row` is what the user who wants to act is to it."""

    def __init__(self, *, server_name: ServerName, rooms: Rooms, memberships: MembershipStore) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._memberships = memberships

    async def is_here(self, room_id: RoomID, row: MembershipRow | None) -> bool:
        """Whether this server can act in the room by itself.

        It can when somebody of it is joined. A room that everybody has left still is here, unless another
        server has invited the user since: then somebody is back whom we have not heard of.
        """
        if await self._rooms.is_resident(room_id):
            return True
        try:
            others = await self._rooms.joined_servers(room_id)
        except UnknownRoom:
            return False
        invited_from_afar = (
            row is not None and row.membership == "invite" and server_name_of(row.sender) != self._server_name
        )
        return not others and not invited_from_afar

    async def to_enter_through(
        self, room_id: RoomID, row: MembershipRow | None, via: Sequence[ServerName]
    ) -> tuple[ServerName, ...]:
        """`to_ask`, of which there must be one: UnknownRoom says how to name one."""
        servers = await self.to_ask(room_id, row, via)
        if not servers:
            raise UnknownRoom(
                f"This server does not know the room {room_id}. Name servers that are in it with via."
            )
        return servers

    async def to_ask(
        self, room_id: RoomID, row: MembershipRow | None, via: Sequence[ServerName]
    ) -> tuple[ServerName, ...]:
        """The caller's servers, that of whoever made the user's membership `row` (the inviter), that of the
        room ID (before version 12), those of whom their invite or knock told, and those of members; without
        ours and without repeats."""
        servers = list(via)
        if row is not None:
            servers.append(server_name_of(row.sender))
        if ":" in room_id:
            servers.append(server_name_of(room_id))
        if row is not None and row.membership in ("invite", "knock"):
            told = await self._memberships.maybe_invite_state(row.user_id, room_id)
            servers.extend(tuple(dict.fromkeys(_senders_servers(told)))[:MAX_KNOWN_SERVERS])
        with suppress(UnknownRoom):
            servers.extend((await self._rooms.joined_servers(room_id))[:MAX_KNOWN_SERVERS])
        return tuple(dict.fromkeys(name for name in servers if name != self._server_name))


def _senders_servers(stripped_state: bytes | None) -> Iterator[ServerName]:
    """The servers of those who sent the events of a stripped state, which another server wrote."""
    for event in () if stripped_state is None else msgspec.json.decode(stripped_state):
        with suppress(InvalidIdentifier, AttributeError):
            yield server_name_of(parse_user_id(event.get("sender")))
