"""Turning an invite of somebody without a user ID into one of a user, for ours and for other servers' users.

`m.room.third_party_invite` holds public keys; whoever brings a user ID signed with one of them is invited in
the name of who made it. Identity servers are never asked: the room's state and the auth rules decide. Source:
Server-Server API, "Third-party invites"; Client-Server API, `third_party_signed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.events.ids import RoomID, ServerName, UserID, parse_user_id, server_name_of
from minihs.homeserver.elsewhere.protocols import RemoteMembership
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.errors import Forbidden, InvalidParam, UnknownRoom
from minihs.homeserver.member_change import MEMBER, MemberChange
from minihs.homeserver.rooms.service import Rooms

OFFER = "m.room.third_party_invite"

Signed = Mapping[str, Any]
"""What an identity server signed: `mxid`, `token` and `signatures`, perhaps more; kept as it came."""


class ThirdPartyInvites:
    """Issues such invites, and asks for them."""

    def __init__(
        self, *, server_name: ServerName, rooms: Rooms, acls: ServerACLs, remote: RemoteMembership
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._acls = acls
        self._remote = remote

    async def accept(self, user_id: UserID, room_id: RoomID, sender: UserID, signed: Signed) -> None:
        """Have a user of ours invited by `sender`, so that they can join; durable when this returns.

        Raises Forbidden when the auth rules refuse, and what `RemoteMembership` raises when `sender` is of
        another server, which then has to issue the invite.
        """
        if signed.get("mxid") != user_id:
            raise Forbidden("third_party_signed is for somebody else.")
        if server_name_of(sender) == self._server_name:
            await self._issue(room_id, sender, user_id, signed, None)
        else:
            invite = {"display_name": "", "signed": dict(signed)}
            partial = {
                "type": MEMBER,
                "room_id": room_id,
                "sender": sender,
                "state_key": user_id,
                "content": {"membership": "invite", "third_party_invite": invite},
            }
            await self._remote.exchange_third_party_invite(server_name_of(sender), room_id, partial)

    async def exchange(self, origin: ServerName, room_id: RoomID, partial: Mapping[str, Any]) -> None:
        """Issue the invite that another server asks for with a partial member event; it is in the room when
        this returns.

        Raises UnknownRoom, Forbidden (ACL, auth rules), InvalidParam for what is no such event.
        """
        if not await self._rooms.is_resident(room_id):
            raise UnknownRoom(f"This server is not in the room {room_id}.")
        await self._acls.check(room_id, origin)
        content = partial.get("content")
        invite = content.get("third_party_invite") if isinstance(content, Mapping) else None
        signed = invite.get("signed") if isinstance(invite, Mapping) else None
        if (
            partial.get("type") != MEMBER
            or partial.get("room_id") != room_id
            or not isinstance(content, Mapping)
            or content.get("membership") != "invite"
            or not isinstance(invite, Mapping)
            or not isinstance(signed, Mapping)
        ):
            raise InvalidParam(
                "The body must be an m.room.member event of this room with membership invite and a"
                " third_party_invite that is signed."
            )
        sender, user_id = parse_user_id(partial.get("sender")), parse_user_id(partial.get("state_key"))
        if server_name_of(sender) != self._server_name:
            raise InvalidParam(f"{sender} is not of this server. Ask the server of who made the invite.")
        await self._issue(room_id, sender, user_id, signed, invite.get("display_name"))

    async def _issue(
        self, room_id: RoomID, sender: UserID, user_id: UserID, signed: Signed, display_name: object
    ) -> None:
        current = await self._rooms.state_event(room_id, MEMBER, user_id)
        if current is not None and current.membership in ("join", "invite"):
            return  # the auth rules would let an invite take the place of the membership
        token = signed.get("token")
        offer = await self._rooms.state_event(room_id, OFFER, token) if isinstance(token, str) else None
        name = display_name if offer is None else offer.content.get("display_name")
        invite = MemberChange(
            room_id=room_id,
            sender=sender,
            target=user_id,
            content={
                "membership": "invite",
                "third_party_invite": {
                    "display_name": name if isinstance(name, str) else "",
                    "signed": dict(signed),
                },
            },
        )
        if server_name_of(user_id) == self._server_name:
            await self._rooms.send(invite.draft)
        else:
            await self._remote.invite_remote(invite)
