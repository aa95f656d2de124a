"""Joins to restricted rooms: does the user meet a condition, and who here can vouch for them?

Serves our own users and, through make_join and send_join, those of other servers. Source: Client-Server API,
"Restricted rooms"; Server-Server API, "Restricted rooms"; room version 8 and later, `join_rule` `restricted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.events.ids import RoomID, ServerName, UserID, server_name_of
from minihs.homeserver.errors import Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin
from minihs.homeserver.rooms.service import Rooms
from minihs.rooms.join_rules import allowed_rooms, is_restricted
from minihs.store.memberships import MembershipStore


class RestrictedJoins:
    """Finds the `join_authorised_via_users_server` of a join."""

    def __init__(self, *, server_name: ServerName, rooms: Rooms, memberships: MembershipStore) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._memberships = memberships

    async def authoriser(self, room_id: RoomID, user_id: UserID) -> UserID | None:
        """The user of this server who vouches for a join; None when the join needs nobody to.

        The room must be one that we are in. Raises Forbidden when no condition holds, UnableToAuthoriseJoin
        when none can be checked here, UnableToGrantJoin when nobody here has the power to invite.
        """
        join_rules = await self._rooms.state_event(room_id, "m.room.join_rules")
        version = await self._rooms.version_of(room_id)
        if join_rules is None or not is_restricted(join_rules.content.get("join_rule"), version):
            return None
        current = await self._rooms.state_event(room_id, "m.room.member", user_id)
        if current is not None and current.membership in ("join", "invite"):
            return None
        if current is not None and current.membership == "ban":
            raise Forbidden("You are banned from this room.")
        await self._check_conditions(join_rules.content, user_id)
        return await self._inviter(room_id)

    async def _check_conditions(self, join_rules: Mapping[str, Any], user_id: UserID) -> None:
        allowed = allowed_rooms(join_rules)
        ours = server_name_of(user_id) == self._server_name
        checked = [room_id for room_id in allowed if ours or await self._rooms.is_resident(room_id)]
        for room_id in checked:
            if await self._memberships.is_joined(user_id, room_id):
                return
        if allowed and not checked:
            raise UnableToAuthoriseJoin("This server cannot check any of the room's conditions for joining.")
        raise Forbidden("You are in none of the rooms whose members may join this one without an invite.")

    async def _inviter(self, room_id: RoomID) -> UserID:
        power = await self._rooms.power_levels(room_id)
        joined = await self._rooms.joined_users(room_id)
        ours = [user_id for user_id in joined if server_name_of(user_id) == self._server_name]
        able = [user_id for user_id in ours if power.level_of(user_id) >= power.invite]
        if not able:
            raise UnableToGrantJoin("Nobody of this server in the room has the power to invite.")
        return max(able, key=power.level_of)  # of equals the first by name
