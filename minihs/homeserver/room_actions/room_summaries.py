"""Summaries of the rooms that this server is in, and who outside of them may have one.

Source: Client-Server API, `GET /hierarchy` and `GET /room_summary`; Server-Server API, "Spaces".
"""

from __future__ import annotations

from minihs.events.ids import RoomID, ServerName, UserID, is_of_server
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.rooms.service import Rooms
from minihs.rooms.spaces import CHILD, SPACE, ChildLink, SpaceChild, children_of
from minihs.rooms.summary import SUMMARISED, RoomSummary, summary_of
from minihs.store.memberships import MembershipStore

MAX_CHILDREN = 1_000
"""Children of one space that are looked at."""


class RoomSummaries:
    """Makes summaries of our rooms."""

    def __init__(self, *, rooms: Rooms, memberships: MembershipStore) -> None:
        self._rooms = rooms
        self._memberships = memberships

    async def maybe(self, room_id: RoomID) -> RoomSummary | None:
        """The room summed up as it stands; None when nobody of this server is in it."""
        return await self.of(room_id) if await self._rooms.is_resident(room_id) else None

    async def of(self, room_id: RoomID) -> RoomSummary:
        """A room that this server knows, summed up; UnknownRoom for others."""
        state = await self._rooms.state_events(room_id, SUMMARISED)
        version = await self._rooms.version_of(room_id)
        return summary_of(room_id, version, state, await self._rooms.joined_count(room_id))

    async def children(self, summary: RoomSummary, *, suggested_only: bool = False) -> tuple[ChildLink, ...]:
        """What a space of ours holds, in its order; nothing for other rooms."""
        if summary.room_type != SPACE:
            return ()
        state = await self._rooms.current_state(summary.room_id)
        keys = sorted(key for key, _ in state.unsorted_items() if key[0] == CHILD)[:MAX_CHILDREN]
        found = await self._rooms.state_events(summary.room_id, keys)
        return children_of(
            [SpaceChild.of(event) for event in found.values()],
            suggested_only=suggested_only,
            limit=MAX_CHILDREN,
        )

    async def user_may_see(self, user_id: UserID | None, summary: RoomSummary) -> bool:
        """Whether a user of ours (None: somebody without an account) is in the room or could get in."""
        if user_id is None:
            return summary.is_open
        row = await self._memberships.maybe_membership(user_id, summary.room_id)
        if row is not None and row.membership == "ban":
            return summary.world_readable
        if summary.is_open or (row is not None and row.membership in ("join", "invite")):
            return True
        for room_id in summary.admitting_rooms:
            if await self._memberships.is_joined(user_id, room_id):
                return True
        return False

    async def server_may_see(self, server: ServerName, summary: RoomSummary) -> bool:
        """Whether somebody of another server is in a room of ours or could get in."""
        if summary.is_open or await self._is_joined(server, summary.room_id):
            return True
        for room_id in summary.admitting_rooms:
            if await self._is_joined(server, room_id):
                return True
        invited = await self._memberships.all_users(summary.room_id, "invite")
        return any(is_of_server(user_id, server) for user_id in invited)

    async def _is_joined(self, server: ServerName, room_id: RoomID) -> bool:
        try:
            return server in await self._rooms.joined_servers(room_id)
        except UnknownRoom:
            return False
