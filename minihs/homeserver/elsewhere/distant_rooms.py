"""Memberships of our users in rooms that this server is not in: invites, knocks, and their end.

Nothing of the room itself is kept but its version and the stripped state that came with the invite. Source:
Server-Server API, "Inviting to a room", "Knocking upon a room", "Leaving Rooms (Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import RoomID, ServerName, UserID, server_name_of
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.store.along import Along
from minihs.store.distant_rooms import DistantRoomStore
from minihs.store.memberships import MembershipStore
from minihs.store.rooms import RoomStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch, Writer


class DistantRooms:
    """Records such memberships. `changed(user_id)` is called when one has become durable."""

    def __init__(
        self,
        *,
        writer: Writer,
        stream: Stream,
        rooms: RoomStore,
        memberships: MembershipStore,
        distant_rooms: DistantRoomStore,
        changed: Callable[[UserID], None],
    ) -> None:
        self._writer = writer
        self._stream = stream
        self._rooms = rooms
        self._memberships = memberships
        self._distant_rooms = distant_rooms
        self._changed = changed

    async def maybe_version(self, room_id: RoomID) -> RoomVersion | None:
        """The room's version as an invite or a knock told it."""
        version_id = await self._distant_rooms.maybe_version(room_id)
        return None if version_id is None else ROOM_VERSIONS[version_id]

    async def record(
        self,
        event: Event,
        stripped_state: Sequence[Mapping[str, Any]] = (),
        *,
        along: Along | None = None,
    ) -> None:
        """The member event is its user's current membership; durable when this returns."""
        if event.state_key is None or event.membership is None:
            raise TypeError(f"{event.event_id} is no member event")
        user_id = UserID(event.state_key)
        batch = Batch()
        if along is not None:
            along.also(batch, event)
        self._distant_rooms.add(batch, event.room_id, event.version.id)
        position = self._stream.allocate()
        self._rooms.set_membership(
            batch,
            user_id=user_id,
            room_id=event.room_id,
            membership=event.membership,
            event_id=event.event_id,
            sender=event.sender,
            position=position,
            invite_state=msgspec.json.encode(stripped_state) if stripped_state else None,
        )
        await self._writer.submit(batch)
        self._stream.committed(position)
        self._changed(user_id)

    async def end(self, origin: ServerName, event: Event) -> bool:
        """Take back an invite or refuse a knock, if the genuine event does that; whether it did.

        Without the room's state nobody can say who may. An invite is taken back by the inviter's server; a
        knock is refused by an event that cites it, which only servers in the room have seen.
        """
        if event.membership not in ("leave", "ban") or event.state_key is None:
            return False
        row = await self._memberships.maybe_membership(UserID(event.state_key), event.room_id)
        if row is None or server_name_of(event.sender) != origin:
            return False
        match row.membership:
            case "invite":
                ends = server_name_of(row.sender) == origin
            case "knock":
                ends = row.event_id in event.auth_events
            case _:
                ends = False
        if ends:
            await self.record(event)
        return ends


def stripped(event: Event) -> dict[str, Any]:
    """What clients are told of an event of a room that they are not in (client-server API, "Stripped
    state")."""
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": event.content,
    }
