"""Invites that other servers send: checked, signed by us as well, and kept for the invited user.

Source: Server-Server API, "Inviting to a room"; Client-Server API, "Stripped state".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from minihs.events.event import Event, StateKey
from minihs.events.ids import (
    EventID,
    InvalidIdentifier,
    RoomID,
    ServerName,
    UserID,
    parse_user_id,
    server_name_of,
)
from minihs.events.signatures import Signer, sign_pdu
from minihs.events.versions import RoomVersion
from minihs.federation.admission import Admission, Dropped, Unverifiable
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.elsewhere.distant_rooms import DistantRooms, stripped
from minihs.homeserver.elsewhere.handshakes import member_event, undecided
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.errors import Forbidden, InvalidParam, UnknownRoom
from minihs.homeserver.rooms.service import Rooms
from minihs.rooms.power import CREATE

MAX_STATE_ENTRIES = 100


class InvitedServer:
    """Takes invites for our users. `has_account(user_id)` says whether a user of ours exists."""

    def __init__(
        self,
        *,
        signer: Signer,
        rooms: Rooms,
        acls: ServerACLs,
        admission: Admission,
        distant_rooms: DistantRooms,
        has_account: Callable[[UserID], Awaitable[bool]],
        invite_permission: InvitePermission,
    ) -> None:
        self._signer = signer
        self._rooms = rooms
        self._acls = acls
        self._admission = admission
        self._distant_rooms = distant_rooms
        self._has_account = has_account
        self._invite_permission = invite_permission

    async def invite(
        self,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        *,
        version: RoomVersion,
        pdu: Mapping[str, Any],
        room_state: Sequence[object],
    ) -> dict[str, Any]:
        """The invite with our signature; kept, durably, for a user who is not in the room.

        Raises InvalidParam for what is no genuine invite by `origin` for a user of ours, Forbidden for
        somebody who has no account here or takes no invites, or a room whose ACL keeps `origin` out, and
        Unavailable when the keys that sign it are not to be had at the moment.
        """
        event = member_event(
            pdu,
            version,
            origin=origin,
            room_id=room_id,
            event_id=event_id,
            membership="invite",
            about_sender=False,
        )
        user_id = self._our_user(event.state_key)
        try:
            genuine = await self._admission.verify(event)
        except Unverifiable as unverifiable:
            raise undecided("invite", unverifiable) from unverifiable
        except Dropped as dropped:
            raise InvalidParam(f"The invite's signatures are not good: {dropped}") from dropped
        if genuine is not event:
            raise InvalidParam("The invite's content hash does not match its content.")
        told = await self._stripped_state(version, room_id, room_state)
        if not await self._has_account(user_id):
            raise Forbidden(f"There is nobody called {user_id} here.")
        await self._invite_permission.check(user_id)
        resident = await self._check_known_room(origin, room_id)
        signed = sign_pdu(event.pdu, version, self._signer)
        if not resident:
            # In a room that we are in, the event comes with the room's other events.
            await self._distant_rooms.record(event, [*told, stripped(event)])
        return signed

    async def check_let_in(self, origin: ServerName, room_id: RoomID) -> None:
        """Raise Forbidden when we are in the room and its ACL keeps `origin` out."""
        await self._check_known_room(origin, room_id)

    def _our_user(self, state_key: str | None) -> UserID:
        try:
            user_id = parse_user_id(state_key)
        except InvalidIdentifier as error:
            raise InvalidParam(f"The invite's state_key is no user ID: {error}") from error
        if server_name_of(user_id) != self._signer.server_name:
            raise InvalidParam(f"The invite is for {user_id}, who is not a user of this server.")
        return user_id

    async def _check_known_room(self, origin: ServerName, room_id: RoomID) -> bool:
        """Whether we are in the room; its ACL must let the inviting server in then."""
        try:
            await self._rooms.version_of(room_id)
        except UnknownRoom:
            return False
        if not await self._rooms.is_resident(room_id):
            return False
        await self._acls.check(room_id, origin)
        return True

    async def _stripped_state(
        self, version: RoomVersion, room_id: RoomID, room_state: Sequence[object]
    ) -> list[dict[str, Any]]:
        """What the inviter tells about the room, for the invited user.

        From version 12 on every entry must be a genuine event of the room and the create event be there;
        before, servers still send bare stripped events, which nobody can verify.
        """
        if len(room_state) > MAX_STATE_ENTRIES:
            raise InvalidParam(f"invite_room_state has more than {MAX_STATE_ENTRIES} entries.")
        told: dict[StateKey, dict[str, Any]] = {}
        for entry in room_state:
            try:
                event: Event = await self._admission.admit(entry, version, room_id)
            except Dropped as dropped:
                if version.room_id_is_create_hash:
                    if isinstance(dropped, Unverifiable):
                        raise undecided("invite_room_state", dropped) from dropped
                    raise InvalidParam(
                        f"invite_room_state has an entry that is not good: {dropped}"
                    ) from dropped
                bare = _bare(entry)
                if bare is not None:
                    told[bare["type"], bare["state_key"]] = bare
                continue
            if not event.is_state:
                raise InvalidParam("invite_room_state has an entry that is no state event.")
            told[event.key] = stripped(event)
        create = told.get(CREATE)
        if version.room_id_is_create_hash and create is None:
            raise InvalidParam("invite_room_state lacks the m.room.create event.")
        # A create event without a version is of version 1 (client-server API, "m.room.create").
        if create is not None and create["content"].get("room_version", "1") != version.id:
            raise InvalidParam(f"The m.room.create event is not one of a room of version {version.id}.")
        return list(told.values())


def _bare(entry: object) -> dict[str, Any] | None:
    """A stripped event as older servers send it; None when it is none."""
    if not isinstance(entry, dict):
        return None
    shape = {"type": str, "state_key": str, "sender": str, "content": dict}
    if any(not isinstance(entry.get(key), kind) for key, kind in shape.items()):
        return None
    return {key: entry[key] for key in shape}
