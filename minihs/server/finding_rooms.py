"""Wires how people find rooms: aliases, the published directory, summaries and space trees."""

from __future__ import annotations

import msgspec

from minihs.events.ids import ServerName
from minihs.federation.client import FederationClient
from minihs.federation.remote_lookups import RemoteLookups
from minihs.homeserver.elsewhere.remote_queries import RemoteAliases
from minihs.homeserver.elsewhere.remote_spaces import RememberedSpaces
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.hierarchy import Hierarchy
from minihs.homeserver.room_actions.known_servers import KnownServers
from minihs.homeserver.room_actions.published_rooms import PublishedRooms
from minihs.homeserver.room_actions.room_previews import RoomPreviews
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.store.directory import DirectoryStore
from minihs.store.memberships import MembershipStore
from minihs.store.writer import Writer


class FindingRooms(msgspec.Struct, frozen=True, kw_only=True):
    """What answers where a room is, which there are, and what is in a space."""

    directory: Directory
    published: PublishedRooms
    previews: RoomPreviews
    hierarchy: Hierarchy


def wire_finding_rooms(
    *,
    server_name: ServerName,
    clock: Clock,
    entropy: Entropy,
    writer: Writer,
    rooms: Rooms,
    memberships: MembershipStore,
    store: DirectoryStore,
    summaries: RoomSummaries,
    client: FederationClient,
    lookups: RemoteLookups,
) -> FindingRooms:
    remote = RemoteAliases(client)
    directory = Directory(
        server_name=server_name,
        store=store,
        memberships=memberships,
        writer=writer,
        rooms=rooms,
        remote=remote,
        clock=clock,
    )
    previews = RoomPreviews(
        summaries=summaries,
        memberships=memberships,
        known_servers=KnownServers(server_name=server_name, rooms=rooms, memberships=memberships),
        remote=RememberedSpaces(clock, lookups),
    )
    return FindingRooms(
        directory=directory,
        published=PublishedRooms(
            server_name=server_name,
            store=store,
            writer=writer,
            rooms=rooms,
            directory=directory,
            summaries=summaries,
            remote=remote,
        ),
        previews=previews,
        hierarchy=Hierarchy(clock=clock, entropy=entropy, previews=previews),
    )
