"""Membership: joining, inviting, leaving, kicking, banning, knocking and forgetting, by users of this server.

In a room that this server is in, each is an event like any other and the auth rules judge it. In other rooms
another server must take part (`RemoteMembership`). Source: Client-Server API, "Room membership".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, ServerName, UserID, server_name_of
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.elsewhere.protocols import RemoteMembership
from minihs.homeserver.errors import (
    BadState,
    Forbidden,
    HomeserverError,
    NotFound,
    StillInRoom,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
    UnknownRoom,
)
from minihs.homeserver.room_actions.known_servers import KnownServers
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.state_content import check_state_content
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.store.along import Along
from minihs.store.memberships import MembershipRow, MembershipStore
from minihs.store.writer import Batch, Writer

log = Logger()

MEMBER = "m.room.member"
GUEST_ACCESS: StateKey = ("m.room.guest_access", "")
PRESENT = ("join", "invite", "knock")
AUTHORISED_VIA = "join_authorised_via_users_server"

Content = Mapping[str, Any]


ProfileOf = Callable[[UserID], Awaitable[Mapping[str, Any]]]


class Membership:
    """Changes what users are to rooms.

    `profile_of` gives a local user's `displayname` and `avatar_url`, as far as they are set.
    `note_forgotten` adds rows to the batch with which a user forgets a room; `on_forgotten` is called when
    that is durable, which no event tells.
    """

    def __init__(
        self,
        *,
        server_name: ServerName,
        rooms: Rooms,
        memberships: MembershipStore,
        writer: Writer,
        restricted_joins: RestrictedJoins,
        invite_permission: InvitePermission,
        remote: RemoteMembership,
        profile_of: ProfileOf,
        note_forgotten: Callable[[Batch, RoomID], None],
        on_forgotten: Callable[[UserID], None],
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._known_servers = KnownServers(server_name=server_name, rooms=rooms, memberships=memberships)
        self._memberships = memberships
        self._writer = writer
        self._restricted_joins = restricted_joins
        self._invite_permission = invite_permission
        self._remote = remote
        self._profile_of = profile_of
        self._note_forgotten = note_forgotten
        self._on_forgotten = on_forgotten

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
        if row is not None and row.membership == "join":
            return
        await self._join(user_id, room_id, _content("join", reason), via, is_guest, row, None)

    async def knock(
        self, user_id: UserID, room_id: RoomID, *, via: Sequence[ServerName] = (), reason: str | None = None
    ) -> None:
        """Ask to be let into a room. Raises as `join` does."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        await self._knock(user_id, room_id, _content("knock", reason), via, row, None)

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
        content = _content("invite", reason)
        if is_direct:
            content["is_direct"] = True
        await self._invite(sender, room_id, target, content, None)

    async def leave(self, user_id: UserID, room_id: RoomID, *, reason: str | None = None) -> None:
        """Leave a room, reject its invite or take a knock back; nothing happens when the user has left."""
        await self._leave(user_id, room_id, _content("leave", reason), None)

    async def kick(
        self, sender: UserID, room_id: RoomID, target: UserID, *, reason: str | None = None
    ) -> None:
        """Make somebody leave who is in the room, invited or knocking."""
        await self._kick(sender, room_id, target, _content("leave", reason), None)

    async def ban(
        self, sender: UserID, room_id: RoomID, target: UserID, *, reason: str | None = None
    ) -> None:
        """Keep somebody out of the room."""
        await self._send(sender, room_id, target, _content("ban", reason), None)

    async def unban(
        self, sender: UserID, room_id: RoomID, target: UserID, *, reason: str | None = None
    ) -> None:
        """End a ban; BadState when the user is not banned."""
        if await self._current(room_id, target) != "ban":
            await self._check_joined(sender, room_id)
            raise BadState(f"{target} is not banned from this room.")
        await self._send(sender, room_id, target, _content("leave", reason), None)

    async def forget(self, user_id: UserID, room_id: RoomID) -> None:
        """Never hear of a room again that the user has left; StillInRoom when they have not."""
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None or row.forgotten:
            return
        if row.membership in PRESENT:
            raise StillInRoom(f"Leave the room {room_id} before you forget it.")
        batch = Batch()
        self._memberships.forget(batch, user_id, room_id)
        self._note_forgotten(batch, room_id)
        await self._writer.submit(batch)
        self._on_forgotten(user_id)

    async def change(
        self,
        sender: UserID,
        room_id: RoomID,
        target: UserID,
        content: Content,
        *,
        is_guest: bool = False,
        along: Along | None = None,
    ) -> EventID:
        """What setting the state event `m.room.member` asks for, by the same ways as the calls above.

        Returns the event that now is the target's membership. Raises BadContent for content of the wrong
        shape, and what the calls above raise. `along` is stored with what makes the change durable here, also
        where another server takes part; with it, an event is sent even when it would change nothing. Nothing
        of it happens when the user is joined already through another server, and when a guest joins a room of
        others, who may have to leave it at once.
        """
        check_state_content(MEMBER, content)
        wanted = content["membership"]
        if wanted == "join" and sender == target:
            row = await self._memberships.maybe_membership(sender, room_id)
            return await self._join(sender, room_id, content, (), is_guest, row, along)
        if wanted == "knock" and sender == target:
            row = await self._memberships.maybe_membership(sender, room_id)
            return await self._knock(sender, room_id, content, (), row, along)
        if wanted == "invite":
            return await self._invite(sender, room_id, target, content, along)
        if wanted == "leave" and sender == target:
            return await self._leave(sender, room_id, content, along)
        if wanted == "leave" and await self._current(room_id, target) != "ban":
            return await self._kick(sender, room_id, target, content, along)
        return await self._send(sender, room_id, target, content, along)

    async def check_takes_invites(self, user_id: UserID) -> None:
        """Raise InviteBlocked when a user of ours takes no invites."""
        await self._invite_permission.check(user_id)

    async def lets_guests_in(self, room_id: RoomID) -> bool:
        """Whether guests may be in the room (Client-Server API, "Guest Access", server behaviour)."""
        event = await self._rooms.state_event(room_id, *GUEST_ACCESS)
        return event is not None and event.content.get("guest_access") == "can_join"

    async def update_profile(self, user_id: UserID) -> None:
        """Send the user's changed profile into every room they are in; a room that refuses is passed over."""
        profile = await self._profile_of(user_id)
        for room_id in await self.joined_rooms(user_id):
            current = await self._rooms.state_event(room_id, MEMBER, user_id)
            if current is None or current.membership != "join":
                continue
            kept = {key: value for key, value in current.content.items() if key not in _NOT_COPIED}
            if {**kept, **profile} == current.content:
                continue
            try:
                await self._send(user_id, room_id, user_id, {**kept, **profile}, None)
            except HomeserverError as refusal:
                log.info("profile not updated in {room_id}: {why}", room_id=room_id, why=refusal.message)

    async def leave_all(self, user_id: UserID) -> None:
        """Leave every room, reject every invite, take every knock back, and forget them all: nobody will
        read there any more (a deactivated account)."""
        for row in await self._memberships.all_of_user(user_id):
            try:
                if row.membership in PRESENT:
                    await self.leave(user_id, row.room_id)
                await self.forget(user_id, row.room_id)
            except HomeserverError as refusal:
                log.warn("could not leave {room_id}: {why}", room_id=row.room_id, why=refusal.message)

    async def _join(
        self,
        user_id: UserID,
        room_id: RoomID,
        content: Content,
        via: Sequence[ServerName],
        is_guest: bool,
        row: MembershipRow | None,
        along: Along | None,
    ) -> EventID:
        wanted = {**await self._profile_of(user_id), **content}
        wanted.pop(AUTHORISED_VIA, None)  # only this server says who vouches
        if await self._is_here(room_id, row):
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
                if authoriser is not None:
                    wanted[AUTHORISED_VIA] = authoriser
                return await self._send(user_id, room_id, user_id, wanted, along)
        else:
            servers = await self._resident_servers(room_id, row, via)
        joined = await self._remote.join_remote(
            room_id, user_id, servers, wanted, along=None if is_guest else along
        )
        if is_guest:
            try:
                await self._check_guests_may_join(joined)
            except Forbidden:
                # Only now is the room's state known.
                await self.leave(user_id, joined)
                raise
        return await self._event_of(user_id, joined)

    async def _knock(
        self,
        user_id: UserID,
        room_id: RoomID,
        content: Content,
        via: Sequence[ServerName],
        row: MembershipRow | None,
        along: Along | None,
    ) -> EventID:
        wanted = {**await self._profile_of(user_id), **content}
        if await self._is_here(room_id, row):
            return await self._send(user_id, room_id, user_id, wanted, along)
        servers = await self._resident_servers(room_id, row, via)
        return await self._event_of(
            user_id, await self._remote.knock_remote(room_id, user_id, servers, wanted, along=along)
        )

    async def _invite(
        self,
        sender: UserID,
        room_id: RoomID,
        target: UserID,
        content: Content,
        along: Along | None,
    ) -> EventID:
        current = await self._rooms.state_event(room_id, MEMBER, target)
        # A user of another server may have rejected the invite while we could not be told: it goes out again.
        ours = not self._is_remote(target)
        if ours and current is not None and current.membership == "invite" and along is None:
            await self._check_joined(sender, room_id)
            return current.event_id
        if ours:
            await self._invite_permission.check(target)
            return await self._send(
                sender, room_id, target, {**await self._profile_of(target), **content}, along
            )
        await self._check_federates(room_id)
        draft = _draft(sender, room_id, target, content, along)
        return (await self._remote.invite_remote(draft, along=along)).event_id

    async def _leave(
        self,
        user_id: UserID,
        room_id: RoomID,
        content: Content,
        along: Along | None,
    ) -> EventID:
        row = await self._memberships.maybe_membership(user_id, room_id)
        if row is None:
            raise Forbidden("You are not in this room.")
        if row.membership == "leave" and along is None:
            return row.event_id
        if await self._is_here(room_id, row):
            return await self._send(user_id, room_id, user_id, content, along)
        servers = await self._known_servers.to_ask(room_id, row, ())
        await self._remote.leave_remote(room_id, user_id, servers, content, along=along)
        return await self._event_of(user_id, room_id)

    async def _kick(
        self,
        sender: UserID,
        room_id: RoomID,
        target: UserID,
        content: Content,
        along: Along | None,
    ) -> EventID:
        if await self._current(room_id, target) not in PRESENT:
            await self._check_joined(sender, room_id)
            raise Forbidden(f"{target} is not in this room.")
        return await self._send(sender, room_id, target, content, along)

    async def _send(
        self,
        sender: UserID,
        room_id: RoomID,
        target: UserID,
        content: Content,
        along: Along | None,
    ) -> EventID:
        draft = _draft(sender, room_id, target, content, along)
        return (await self._rooms.send(draft, also=None if along is None else along.also)).event_id

    async def _is_here(self, room_id: RoomID, row: MembershipRow | None) -> bool:
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
        invited_from_afar = row is not None and row.membership == "invite" and self._is_remote(row.sender)
        return not others and not invited_from_afar

    def _is_remote(self, user_id: UserID) -> bool:
        return server_name_of(user_id) != self._server_name

    async def _resident_servers(
        self, room_id: RoomID, row: MembershipRow | None, via: Sequence[ServerName]
    ) -> tuple[ServerName, ...]:
        servers = await self._known_servers.to_ask(room_id, row, via)
        if not servers:
            raise UnknownRoom(
                f"This server does not know the room {room_id}. Name servers that are in it with via."
            )
        return servers

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


_NOT_COPIED = frozenset({"displayname", "avatar_url", AUTHORISED_VIA, "reason", "third_party_invite"})


def _draft(
    sender: UserID, room_id: RoomID, target: UserID, content: Content, along: Along | None
) -> EventDraft:
    return EventDraft(
        room_id=room_id,
        sender=sender,
        type=MEMBER,
        state_key=target,
        content=content,
        delay_id=None if along is None else along.delay_id,
        was_future=along is not None and along.was_future,
    )


def _content(membership: str, reason: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"membership": membership}
    if reason is not None:
        content["reason"] = reason
    return content
