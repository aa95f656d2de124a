"""What is done in every room of a user at once: showing a changed profile, leaving for good.

Source: Client-Server API, "Profiles" (changes become member events) and "Deactivating an account".
"""

from __future__ import annotations

from minihs.events.ids import UserID
from minihs.homeserver.errors import HomeserverError
from minihs.homeserver.member_change import AUTHORISED_VIA, MEMBER, PRESENT, MemberChange
from minihs.homeserver.room_actions.forgetting import Forgetting
from minihs.homeserver.room_actions.membership import Membership, ProfileOf
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.logs import Logger
from minihs.store.memberships import MembershipStore

log = Logger()


class EveryRoom:
    """Goes through a user's rooms; one that refuses is passed over."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        memberships: MembershipStore,
        membership: Membership,
        forgetting: Forgetting,
        profile_of: ProfileOf,
    ) -> None:
        self._rooms = rooms
        self._memberships = memberships
        self._membership = membership
        self._forgetting = forgetting
        self._profile_of = profile_of

    async def update_profile(self, user_id: UserID) -> None:
        """Send the user's changed profile into every room they are in."""
        profile = await self._profile_of(user_id)
        for room_id in await self._memberships.all_rooms(user_id, "join"):
            current = await self._rooms.state_event(room_id, MEMBER, user_id)
            if current is None or current.membership != "join":
                continue
            kept = {key: value for key, value in current.content.items() if key not in _NOT_COPIED}
            content = {**kept, **profile}
            if content == current.content:
                continue
            change = MemberChange(room_id=room_id, sender=user_id, target=user_id, content=content)
            try:
                await self._rooms.send(change.draft)
            except HomeserverError as refusal:
                log.info("profile not updated in {room_id}: {why}", room_id=room_id, why=refusal.message)

    async def leave_all(self, user_id: UserID) -> None:
        """Leave every room, reject every invite, take every knock back, and forget them all: nobody will
        read there any more (a deactivated account)."""
        for row in await self._memberships.all_of_user(user_id):
            try:
                if row.membership in PRESENT:
                    await self._membership.leave(user_id, row.room_id)
                await self._forgetting.forget(user_id, row.room_id)
            except HomeserverError as refusal:
                log.warn("could not leave {room_id}: {why}", room_id=row.room_id, why=refusal.message)


_NOT_COPIED = frozenset({"displayname", "avatar_url", AUTHORISED_VIA, "reason", "third_party_invite"})
