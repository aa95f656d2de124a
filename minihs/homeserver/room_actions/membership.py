"""Membership: joining, inviting, leaving, kicking, banning and knocking, by users of this server.

In a room that this server is in, each is an event like any other and the auth rules judge it. In other rooms
another server must take part (`RemoteMembership`). Source: Client-Server API, "Room membership".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, ServerName, UserID, server_name_of
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.elsewhere.protocols import RemoteMembership
from minihs.homeserver.errors import (
    BadState,
    Forbidden,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)
from minihs.homeserver.member_change import AUTHORISED_VIA, MEMBER, PRESENT, MemberChange
from minihs.homeserver.room_actions.known_servers import KnownServers
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.state_content import check_state_content
from minihs.homeserver.rooms.service import Rooms
from minihs.store.memberships import MembershipRow, MembershipStore

GUEST_ACCESS: StateKey = ("m.room.guest_access", "")

ProfileOf = Callable[[UserID], Awaitable[Mapping[str, Any]]]


class Membership:
    """Changes what users are to rooms.

    `profile_of` gives a local user's `displayname` and `avatar_url`, as far as they are set.
    """

    def __init__(
        self,
        *,
        server_name: ServerName,
        rooms: Rooms,
        memberships: MembershipStore,
        restricted_joins: RestrictedJoins,
        invite_permission: InvitePermission,
        remote: RemoteMembership,
        profile_of: ProfileOf,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._known_servers = KnownServers(server_name=server_name, rooms=rooms, memberships=memberships)
        self._memberships = memberships
        self._restricted_joins = restricted_joins
        self._invite_permission = invite_permission
        self._remote = remote
        self._profile_of = profile_of

    async def joined_rooms(self, user_id: UserID) -> Sequence[RoomID]:
        """The rooms the user is joined to, by room ID."""
        return await self._memberships.all_rooms(user_id, "join")

    async def join(
        self,
        user_id: UserID,
        room_id: RoomID,
        *,
        via: Sequence[ServerName] = (),
        reason: str | None = None,
        is_guest: bool = False,
    ) -> None:
        """Join a room; nothing happens when the user is in it already.

        `via` are servers that may help when this server is not in the room. Raises Forbidden, UnknownRoom
        (and no server to ask), and what `RemoteMembership` raises.
        """
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None or row.membership != "join":
            await self._join(_change(user_id, room_id, user_id, "join", reason), row, via, is_guest)

    async def knock(
        self, user_id: UserID, room_id: RoomID, *, via: Sequence[ServerName] = (), reason: str | None = None
    ) -> None:
        """Ask to be let into a room. Raises as `join` does."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        await self._knock(_change(user_id, room_id, user_id, "knock", reason), row, via)

    async def invite(
        self,
        sender: UserID,
        room_id: RoomID,
        target: UserID,
        *,
        reason: str | None = None,
        is_direct: bool = False,
    ) -> None:
        """Invite a user; nothing happens when they are of this server and invited already.

        Raises Forbidden, UnknownRoom, and what `RemoteMembership` raises for a user of another server.
        """
        more = {"is_direct": True} if is_direct else {}
        await self._invite(_change(sender, room_id, target, "invite", reason, **more))

    async def leave(self, user_id: UserID, room_id: RoomID, *, reason: str | None = None) -> None:
        """Leave a room, reject its invite or take a knock back; nothing happens when the user has left."""
        await self._leave(_change(user_id, room_id, user_id, "leave", reason))

    async def kick(
        self, sender: UserID, room_id: RoomID, target: UserID, *, reason: str | None = None
    ) -> None:
        """Make somebody leave who is in the room, invited or knocking."""
        await self._kick(_change(sender, room_id, target, "leave", reason))

    async def ban(
        self, sender: UserID, room_id: RoomID, target: UserID, *, reason: str | None = None
    ) -> None:
        """Keep somebody out of the room."""
        await self._send(_change(sender, room_id, target, "ban", reason))

    async def unban(
        self, sender: UserID, room_id: RoomID, target: UserID, *, reason: str | None = None
    ) -> None:
        """End a ban; BadState when the user is not banned."""
        if await self._current(room_id, target) != "ban":
            await self._check_joined(sender, room_id)
            raise BadState(f"{target} is not banned from this room.")
        await self._send(_change(sender, room_id, target, "leave", reason))

    async def change(self, change: MemberChange, *, is_guest: bool = False) -> EventID:
        """What setting the state event `m.room.member` asks for, by the same ways as the calls above.

        Returns the event that now is the target's membership. Raises BadContent for content of the wrong
        shape, and what the calls above raise. With something that goes along, an event is sent even when it
        would change nothing. Nothing of that happens when the user is joined already through another server,
        and when a guest joins a room of others, who may have to leave it at once.
        """
        check_state_content(MEMBER, change.content)
        wanted, room_id, target = change.content["membership"], change.room_id, change.target
        if change.sender == target and wanted in ("join", "knock"):
            row = await self._memberships.maybe_membership(target, room_id)
            if wanted == "join":
                return await self._join(change, row, (), is_guest)
            return await self._knock(change, row, ())
        if wanted == "invite":
            return await self._invite(change)
        if wanted == "leave" and change.sender == target:
            return await self._leave(change)
        if wanted == "leave" and await self._current(room_id, target) != "ban":
            return await self._kick(change)
        return await self._send(change)

    async def check_takes_invites(self, user_id: UserID) -> None:
        """Raise InviteBlocked when a user of ours takes no invites."""
        await self._invite_permission.check(user_id)

    async def lets_guests_in(self, room_id: RoomID) -> bool:
        """Whether guests may be in the room (Client-Server API, "Guest Access", server behaviour)."""
        event = await self._rooms.state_event(room_id, *GUEST_ACCESS)
        return event is not None and event.content.get("guest_access") == "can_join"

    async def _join(
        self, change: MemberChange, row: MembershipRow | None, via: Sequence[ServerName], is_guest: bool
    ) -> EventID:
        room_id, user_id = change.room_id, change.target
        content = {**await self._profile_of(user_id), **change.content}
        content.pop(AUTHORISED_VIA, None)  # only this server says who vouches
        change = replace(change, content=content)
        if await self._known_servers.is_here(room_id, row):
            if is_guest:
                await self._check_guests_may_join(room_id)
            try:
                authoriser = await self._restricted_joins.authoriser(room_id, user_id)
            except UnableToAuthoriseJoin as error:
                raise Forbidden(error.message) from error
            except UnableToGrantJoin as error:
                servers = await self._known_servers.to_ask(room_id, row, via)
                if not servers:
                    raise Forbidden(error.message) from error
            else:
                vouched = {} if authoriser is None else {AUTHORISED_VIA: authoriser}
                return await self._send(replace(change, content={**content, **vouched}))
        else:
            servers = await self._known_servers.to_enter_through(room_id, row, via)
        await self._remote.join_remote(replace(change, along=None) if is_guest else change, servers)
        if is_guest:
            try:
                await self._check_guests_may_join(room_id)
            except Forbidden:
                # Only now is the room's state known.
                await self.leave(user_id, room_id)
                raise
        return await self._event_of(user_id, room_id)

    async def _knock(
        self, change: MemberChange, row: MembershipRow | None, via: Sequence[ServerName]
    ) -> EventID:
        room_id, user_id = change.room_id, change.target
        change = replace(change, content={**await self._profile_of(user_id), **change.content})
        if await self._known_servers.is_here(room_id, row):
            return await self._send(change)
        servers = await self._known_servers.to_enter_through(room_id, row, via)
        await self._remote.knock_remote(change, servers)
        return await self._event_of(user_id, room_id)

    async def _invite(self, change: MemberChange) -> EventID:
        room_id, target = change.room_id, change.target
        current = await self._rooms.state_event(room_id, MEMBER, target)
        if server_name_of(target) != self._server_name:
            # They may have rejected an earlier invite while we could not be told: it goes out again.
            await self._check_federates(room_id)
            return (await self._remote.invite_remote(change)).event_id
        if current is not None and current.membership == "invite" and change.along is None:
            await self._check_joined(change.sender, room_id)
            return current.event_id
        await self._invite_permission.check(target)
        return await self._send(replace(change, content={**await self._profile_of(target), **change.content}))

    async def _leave(self, change: MemberChange) -> EventID:
        room_id, user_id = change.room_id, change.target
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None:
            raise Forbidden("You are not in this room.")
        if row.membership == "leave" and change.along is None:
            return row.event_id
        if await self._known_servers.is_here(room_id, row):
            return await self._send(change)
        await self._remote.leave_remote(change, await self._known_servers.to_ask(room_id, row, ()))
        return await self._event_of(user_id, room_id)

    async def _kick(self, change: MemberChange) -> EventID:
        if await self._current(change.room_id, change.target) not in PRESENT:
            await self._check_joined(change.sender, change.room_id)
            raise Forbidden(f"{change.target} is not in this room.")
        return await self._send(change)

    async def _send(self, change: MemberChange) -> EventID:
        return (await self._rooms.send(change.draft, also=change.also)).event_id

    async def _check_guests_may_join(self, room_id: RoomID) -> None:
        if not await self.lets_guests_in(room_id):
            raise Forbidden("This room does not let guests in.")

    async def _check_federates(self, room_id: RoomID) -> None:
        create = await self._rooms.state_event(room_id, "m.room.create")
        if create is not None and create.content.get("m.federate") is False:
            raise Forbidden("This room is for users of the server where it was made.")

    async def _check_joined(self, user_id: UserID, room_id: RoomID) -> None:
        if await self._current(room_id, user_id) != "join":
            raise Forbidden("You are not in this room.")

    async def _current(self, room_id: RoomID, user_id: UserID) -> str | None:
        event = await self._rooms.state_event(room_id, MEMBER, user_id)
        return None if event is None else event.membership

    async def _event_of(self, user_id: UserID, room_id: RoomID) -> EventID:
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None:
            raise NotFound(f"You are nothing to the room {room_id}.")
        return row.event_id


def _change(
    sender: UserID, room_id: RoomID, target: UserID, membership: str, reason: str | None, **more: Any
) -> MemberChange:
    content: dict[str, Any] = {"membership": membership, **more}
    if reason is not None:
        content["reason"] = reason
    return MemberChange(room_id=room_id, sender=sender, target=target, content=content)
