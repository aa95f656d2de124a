"""What would become of an event if it were sent now: all checks of sending it, and no event.

Made of the parts that send what users want sent, over rooms in which nothing happens.
"""

from __future__ import annotations

from typing import Any, NoReturn

from minihs.events.event import Event
from minihs.events.ids import ServerName
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.member_change import MemberChange
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.membership import Membership, ProfileOf
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.rooms.building import Judged
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.rehearsal import Rehearsed
from minihs.homeserver.rooms.service import Rooms
from minihs.store.events import EventStore
from minihs.store.memberships import MembershipStore
from minihs.store.writer import Batch


class NeedsAnotherServer(Exception):
    """Another server would make the event, or refuse: nobody here can tell."""


class Rehearsal:
    """Tells what sending would come to."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    async def judged(self, draft: EventDraft, *, is_guest: bool = False) -> Judged:
        """What the auth rules say of the event as it would be made now.

        Raises what sending it would raise before they are asked, and NeedsAnotherServer.
        """
        try:
            await self._sending.send(draft, is_guest=is_guest, also=_nothing)
        except Rehearsed as rehearsed:
            return rehearsed.judged
        raise RuntimeError("an event that was to be rehearsed was sent")


def make_rehearsal(
    *,
    server_name: ServerName,
    rehearsed: Rooms,
    events: EventStore,
    memberships: MembershipStore,
    invite_permission: InvitePermission,
    profile_of: ProfileOf,
    directory: Directory,
) -> Rehearsal:
    """The rehearsal of a server; `rehearsed` are `RehearsedRooms`."""
    membership = Membership(
        server_name=server_name,
        rooms=rehearsed,
        memberships=memberships,
        restricted_joins=RestrictedJoins(server_name=server_name, rooms=rehearsed, memberships=memberships),
        invite_permission=invite_permission,
        remote=_NobodyElsewhere(rehearsed),
        profile_of=profile_of,
    )
    return Rehearsal(Sending(rooms=rehearsed, events=events, membership=membership, directory=directory))


class _NobodyElsewhere:
    """Other servers, none of which is asked. An invite is judged here before it is shown to its user's."""

    def __init__(self, rehearsed: Rooms) -> None:
        self._rehearsed = rehearsed

    async def join_remote(self, *_asked: Any) -> NoReturn:
        raise NeedsAnotherServer("Another server must let the user in.")

    async def leave_remote(self, *_asked: Any) -> NoReturn:
        raise NeedsAnotherServer("A server that is in the room must take the user's leave.")

    async def knock_remote(self, *_asked: Any) -> NoReturn:
        raise NeedsAnotherServer("A server that is in the room must take the knock.")

    async def exchange_third_party_invite(self, *_asked: Any) -> NoReturn:
        raise NeedsAnotherServer("The inviter's server must issue the invite.")

    async def invite_remote(self, change: MemberChange) -> Event:
        return await self._rehearsed.send(change.draft)


def _nothing(_batch: Batch, _event: Event) -> None:
    """Nothing is stored with an event that is not."""
