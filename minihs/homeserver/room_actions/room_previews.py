"""A room as one user may know it from outside: from our own state where we are in it, else as others tell it.

Source: Client-Server API, `GET /room_summary` and `GET /hierarchy`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.federation.remote_lookups import ToldRoom, ToldSpace
from minihs.homeserver.elsewhere.protocols import RemoteSpaces
from minihs.homeserver.errors import NotFound
from minihs.homeserver.room_actions.known_servers import KnownServers
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.platform.logs import Logger
from minihs.rooms.spaces import SPACE, ChildLink
from minihs.rooms.summary import RoomSummary
from minihs.store.memberships import MembershipStore

log = Logger()


class Preview(msgspec.Struct, frozen=True):
    """A room that the user may know of; `told` is what its teller said of its children, `closed` those of
    them into which it says that nobody here can get."""

    summary: RoomSummary
    children: tuple[ChildLink, ...] = ()
    told: dict[RoomID, ToldRoom] = {}
    closed: frozenset[RoomID] = frozenset()


class Summed(msgspec.Struct, frozen=True):
    """A room's summary, and what the user is to it; None when they are nothing, or nobody."""

    summary: RoomSummary
    membership: str | None


class RoomPreviews:
    """Looks rooms up for users."""

    def __init__(
        self,
        *,
        summaries: RoomSummaries,
        memberships: MembershipStore,
        known_servers: KnownServers,
        remote: RemoteSpaces,
    ) -> None:
        self._summaries = summaries
        self._memberships = memberships
        self._known_servers = known_servers
        self._remote = remote

    async def summary(self, user_id: UserID | None, room_id: RoomID, via: Sequence[ServerName]) -> Summed:
        """One room for a user, or for somebody without an account, for whom no other server is asked.

        NotFound when there is no such room, or it is not for them to know.
        """
        membership = None
        if user_id is None:
            ours = await self._summaries.maybe(room_id)
            preview = None if ours is None else await self._ours(None, ours)
        else:
            preview = await self.preview(user_id, room_id, via)
            row = await self._memberships.maybe_membership(user_id, room_id)
            membership = None if row is None else row.membership
        if preview is None:
            raise NotFound(f"There is no room {room_id} that you could join or read.")
        return Summed(preview.summary, membership)

    def look_ahead(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], told: ToldRoom | None
    ) -> None:
        """`preview` will be asked for the room soon: have other servers asked meanwhile, if they must be."""
        if told is None or told.summary.room_type == SPACE:
            Deferred.fromCoroutine(self._ahead(user_id, room_id, via)).addErrback(
                lambda failure: log.failure("a room could not be looked up ahead", failure)
            )

    async def _ahead(self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName]) -> None:
        if await self._summaries.maybe(room_id) is None:
            await self._asked(user_id, room_id, via)

    async def _asked(self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName]) -> ToldSpace | None:
        row = await self._memberships.maybe_membership(user_id, room_id)
        return await self._remote.told(room_id, await self._known_servers.to_ask(room_id, row, via))

    async def preview(
        self,
        user_id: UserID,
        room_id: RoomID,
        via: Sequence[ServerName],
        told: ToldRoom | None = None,
        *,
        closed: bool = False,
    ) -> Preview | None:
        """The room with its children; None when nothing can be learnt of it, or the user may not.

        `told` is what another server has said of it already; with `closed` no other server is asked.
        """
        ours = await self._summaries.maybe(room_id)
        if ours is not None:
            return await self._ours(user_id, ours)
        if closed:
            return None
        if told is not None and told.summary.room_type != SPACE:
            preview = Preview(told.summary)
        else:
            # Of a space nested in another, some servers tell all but what it holds.
            space = await self._asked(user_id, room_id, via)
            if space is not None:
                preview = Preview(space.room.summary, space.room.children, space.children, space.inaccessible)
            elif told is not None:
                preview = Preview(told.summary, told.children)
            else:
                return None
        return preview if await self._summaries.user_may_see(user_id, preview.summary) else None

    async def _ours(self, user_id: UserID | None, summary: RoomSummary) -> Preview | None:
        if not await self._summaries.user_may_see(user_id, summary):
            return None
        return Preview(summary, await self._summaries.children(summary))
