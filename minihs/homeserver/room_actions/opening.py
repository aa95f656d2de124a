"""Puts together what users do with rooms: the one place that knows in which order its parts are made."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from minihs.events.ids import ServerName, UserID
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.elsewhere.protocols import RemoteDirectory, RemoteMembership, RemoteSpaces
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.room_actions.creation import RoomCreation
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.every_room import EveryRoom
from minihs.homeserver.room_actions.forgetting import Forgetting
from minihs.homeserver.room_actions.hierarchy import Hierarchy
from minihs.homeserver.room_actions.known_servers import KnownServers
from minihs.homeserver.room_actions.membership import Membership, ProfileOf
from minihs.homeserver.room_actions.published_rooms import PublishedRooms
from minihs.homeserver.room_actions.rehearsal import Rehearsal, make_rehearsal
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.room_previews import RoomPreviews
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.room_actions.third_party_invites import ThirdPartyInvites
from minihs.homeserver.room_actions.upgrade import RoomUpgrade
from minihs.homeserver.room_actions.view import RoomView
from minihs.homeserver.rooms.opening import RoomService
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.store.directory import DirectoryStore
from minihs.store.memberships import MembershipStore
from minihs.store.reader import Reader
from minihs.store.timeline import TimelineStore
from minihs.store.writer import Writer


class RoomActions(msgspec.Struct, frozen=True, kw_only=True):
    """How users make, find, enter, read, change and leave rooms."""

    membership: Membership
    forgetting: Forgetting
    every_room: EveryRoom
    third_party_invites: ThirdPartyInvites
    creation: RoomCreation
    upgrade: RoomUpgrade
    directory: Directory
    published: PublishedRooms
    previews: RoomPreviews
    hierarchy: Hierarchy
    view: RoomView
    sending: Sending
    rehearsal: Rehearsal


def make_room_actions(
    *,
    server_name: ServerName,
    clock: Clock,
    entropy: Entropy,
    reader: Reader,
    writer: Writer,
    room_service: RoomService,
    restricted_joins: RestrictedJoins,
    summaries: RoomSummaries,
    invite_permission: InvitePermission,
    profile_of: ProfileOf,
    on_forgotten: Callable[[UserID], None],
    acls: ServerACLs,
    remote_membership: RemoteMembership,
    remote_directory: RemoteDirectory,
    remote_spaces: RemoteSpaces,
) -> RoomActions:
    """Everything that users do with the rooms of a room service.

    `profile_of` gives what a local user's member events say of them; `on_forgotten` is called when a user has
    forgotten a room, which no event tells. The `remote_…` ask other servers.
    """
    rooms, events = room_service.rooms, room_service.events
    memberships, aliases = MembershipStore(reader), DirectoryStore(reader)
    membership = Membership(
        server_name=server_name,
        rooms=rooms,
        memberships=memberships,
        restricted_joins=restricted_joins,
        invite_permission=invite_permission,
        remote=remote_membership,
        profile_of=profile_of,
    )
    forgetting = Forgetting(
        memberships=memberships, writer=writer, note=room_service.purges.note, on_forgotten=on_forgotten
    )
    directory = Directory(
        server_name=server_name,
        store=aliases,
        memberships=memberships,
        writer=writer,
        rooms=rooms,
        remote=remote_directory,
        clock=clock,
    )
    creation = RoomCreation(
        server_name=server_name,
        rooms=rooms,
        membership=membership,
        directory=directory,
        published=aliases,
        profile_of=profile_of,
    )
    previews = RoomPreviews(
        summaries=summaries,
        memberships=memberships,
        known_servers=KnownServers(server_name=server_name, rooms=rooms, memberships=memberships),
        remote=remote_spaces,
    )
    return RoomActions(
        membership=membership,
        forgetting=forgetting,
        every_room=EveryRoom(
            rooms=rooms,
            memberships=memberships,
            membership=membership,
            forgetting=forgetting,
            profile_of=profile_of,
        ),
        third_party_invites=ThirdPartyInvites(
            server_name=server_name, rooms=rooms, acls=acls, remote=remote_membership
        ),
        creation=creation,
        upgrade=RoomUpgrade(
            rooms=rooms, memberships=memberships, creation=creation, directory=directory, published=aliases
        ),
        directory=directory,
        published=PublishedRooms(
            server_name=server_name,
            store=aliases,
            writer=writer,
            rooms=rooms,
            directory=directory,
            summaries=summaries,
            remote=remote_directory,
        ),
        previews=previews,
        hierarchy=Hierarchy(clock=clock, entropy=entropy, previews=previews),
        view=RoomView(rooms=rooms, memberships=memberships, events=events, timeline=TimelineStore(reader)),
        sending=Sending(rooms=rooms, events=events, membership=membership, directory=directory),
        rehearsal=make_rehearsal(
            server_name=server_name,
            rehearsed=room_service.rehearsed,
            events=events,
            memberships=memberships,
            invite_permission=invite_permission,
            profile_of=profile_of,
            directory=directory,
        ),
    )
