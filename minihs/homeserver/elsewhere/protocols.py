"""What membership, the directory and profiles need from other servers, as protocols and nothing else.

The implementations speak federation; their callers here never do. Source: Server-Server API, sections
"Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving Rooms", "Published Room Directory",
"Spaces" and "Querying for information".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from minihs.events.ids import RoomAlias, RoomID, ServerName, UserID

if TYPE_CHECKING:
    from minihs.events.event import Event
    from minihs.federation.remote_lookups import ToldSpace
    from minihs.homeserver.member_change import MemberChange


class AliasTarget(msgspec.Struct, frozen=True):
    """What an alias stands for: a room and servers, in order of preference, that know it."""

    room_id: RoomID
    servers: tuple[ServerName, ...]


class RemoteMembership(Protocol):
    """Membership changes that need another server, because ours has nobody joined to the room.

    Each raises `federation.client.RemoteRefusal` (the last refusal) when a server said no, and
    `homeserver.errors.Unavailable` when none of them could be asked. Each returns when the change is durable
    here, the row of `memberships` included. `via` are servers to ask, in order, without our own and without
    repeats.

    What goes along with a change is stored in the batch that makes it durable here. The other server is asked
    before: when the process dies in between, whoever asks again asks it again, and that changes nothing for
    anybody.
    """

    async def join_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        """Join (make_join, send_join)."""

    async def leave_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        """Reject an invite, or rescind a knock, with make_leave/send_leave.

        Always succeeds for the user: when every server refuses or is away, the membership is ended on this
        server alone, so that an invite from a server that is gone does not stay for ever.
        """

    async def knock_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        """Knock with make_knock/send_knock."""

    async def invite_remote(self, change: MemberChange) -> Event:
        """Invite a user of another server to a room that we are in.

        The event is built and authorised here, signed by the other server as well (`PUT /invite`), and then
        put into the room. Nothing is put into the room when the other server refuses or is away. Raises
        what `Rooms.send` raises, too.
        """

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, partial: Mapping[str, Any]
    ) -> None:
        """Have a server issue the invite that this partial member event describes."""


class RemoteDirectory(Protocol):
    """Aliases and published rooms of other servers; raises as `RemoteMembership` does."""

    async def resolve_alias(self, alias: RoomAlias) -> AliasTarget | None:
        """What the alias' own server says it stands for; None when it does not know it."""

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """`POST /publicRooms` of `server`; `query` is that request's body (`limit`, `since`, `filter`)."""


class RemoteSpaces(Protocol):
    """Rooms and spaces that this server is not in, as others sum them up."""

    async def told(self, room_id: RoomID, servers: Sequence[ServerName]) -> ToldSpace | None:
        """What the first of `servers` that knows the room tells of it; None when none does. Never raises for
        what other servers do. Whether a user may see it is for the caller to decide."""


class RemoteProfiles(Protocol):
    """Profiles of users on other servers; raises as `RemoteMembership` does."""

    async def profile(self, user_id: UserID, field: str | None = None) -> Mapping[str, Any]:
        """The whole profile, or one field of it as an object with that one key (empty when it is not set)."""
