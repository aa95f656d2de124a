"""Rooms, their forward extremities, who is in them, and the log of what other servers must get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.rooms.state_map import StateChange
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class RoomRow(msgspec.Struct, frozen=True):
    """A room that this server knows."""

    room_id: RoomID
    version: str
    state_group: int


class MemberRow(NamedTuple):
    """What a user is to a room that is here, and the event that says so."""

    user_id: UserID
    membership: str
    event_id: EventID
    sender: UserID


_SET_MEMBERSHIP = (
    " ON CONFLICT (user_id, room_id) DO UPDATE SET"
    " membership = excluded.membership, event_id = excluded.event_id, sender = excluded.sender,"
    " position = excluded.position, invite_state = excluded.invite_state,"
    " forgotten = forgotten AND excluded.membership IN ('leave', 'ban')"
)


class RoomStore:
    """Reads of rooms and memberships, and the statements that change them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._sets: dict[str, int] = {}

    async def load(self) -> None:
        """Read the destination sets, which are interned; once, at start."""
        found = await self._reader.all("SELECT servers, destination_set FROM destination_sets ORDER BY 2")
        self._sets = dict(found)

    async def maybe_room(self, room_id: RoomID) -> RoomRow | None:
        """The room, if this server knows it."""
        row = await self._reader.maybe("SELECT version, state_group FROM rooms WHERE room_id = ?", (room_id,))
        return None if row is None else RoomRow(room_id, *row)

    async def all_rooms(self) -> list[RoomID]:
        """Every room that this server knows, in order of room ID."""
        found = await self._reader.all("SELECT room_id FROM rooms ORDER BY room_id")
        return [room_id for (room_id,) in found]

    async def all_extremities(self, room_id: RoomID) -> list[EventID]:
        """The forward extremities, the latest to come first."""
        found = await self._reader.all(
            "SELECT event_id FROM forward_extremities AS tip JOIN events USING (event_id)"
            " WHERE tip.room_id = ? ORDER BY position DESC",
            (room_id,),
        )
        return [event_id for (event_id,) in found]

    async def all_joined(self, room_id: RoomID) -> list[UserID]:
        """Who is joined, in order of user ID."""
        found = await self._reader.all(
            "SELECT user_id FROM memberships WHERE room_id = ? AND membership = 'join' ORDER BY user_id",
            (room_id,),
        )
        return [user_id for (user_id,) in found]

    def add_room(self, batch: Batch, room_id: RoomID, version: str, state_group: int) -> None:
        """A room becomes known, or is entered anew with other state."""
        batch.add(
            "INSERT INTO rooms (room_id, version, state_group) VALUES (?, ?, ?)"
            " ON CONFLICT (room_id) DO UPDATE SET state_group = excluded.state_group",
            (room_id, version, state_group),
        )

    def set_state_group(self, batch: Batch, room_id: RoomID, state_group: int) -> None:
        """The current state of the room changes."""
        batch.add("UPDATE rooms SET state_group = ? WHERE room_id = ?", (state_group, room_id))

    def replace_extremities(
        self, batch: Batch, room_id: RoomID, old: Sequence[EventID], new: Sequence[EventID]
    ) -> None:
        """Move the room's forward extremities."""
        if len(old) == 1 and len(new) == 1:
            batch.add(
                "UPDATE forward_extremities SET event_id = ? WHERE room_id = ? AND event_id = ?",
                (new[0], room_id, old[0]),
            )
            return
        for event_id in old:
            if event_id not in new:
                batch.add(
                    "DELETE FROM forward_extremities WHERE room_id = ? AND event_id = ?", (room_id, event_id)
                )
        for event_id in new:
            if event_id not in old:
                batch.add(
                    "INSERT INTO forward_extremities (room_id, event_id) VALUES (?, ?)", (room_id, event_id)
                )

    def set_membership(
        self,
        batch: Batch,
        *,
        user_id: UserID,
        room_id: RoomID,
        membership: str,
        event_id: EventID,
        sender: UserID,
        position: int,
        invite_state: bytes | None = None,
    ) -> None:
        """Record a user's current membership; joining or being invited ends a room's being forgotten."""
        batch.add(
            "INSERT INTO memberships (user_id, room_id, membership, event_id, sender, position, invite_state)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?) {_SET_MEMBERSHIP}",
            (user_id, room_id, membership, event_id, sender, position, invite_state),
        )

    def set_memberships(
        self, batch: Batch, room_id: RoomID, position: int, members: Sequence[MemberRow]
    ) -> None:
        """The same for those of a room that is here, whose event at `position` has changed them."""
        if len(members) == 1:
            [(user_id, membership, event_id, sender)] = members
            self.set_membership(
                batch,
                user_id=user_id,
                room_id=room_id,
                membership=membership,
                event_id=event_id,
                sender=sender,
                position=position,
            )
        else:
            batch.add_rows(
                "INSERT INTO memberships (user_id, room_id, membership, event_id, sender, position)"
                " SELECT value ->> 0, ?, value ->> 1, value ->> 2, value ->> 3, ? FROM json_each(?)"
                f" WHERE TRUE {_SET_MEMBERSHIP}",
                (room_id, position),
                members,
            )

    def drop_membership(self, batch: Batch, user_id: UserID, room_id: RoomID) -> None:
        """A resolution took the member event out of the state."""
        batch.add("DELETE FROM memberships WHERE user_id = ? AND room_id = ?", (user_id, room_id))

    def add_state_changes(
        self, batch: Batch, position: int, room_id: RoomID, changes: Sequence[StateChange]
    ) -> None:
        """Add to the stream of changes of rooms' current state: what the event at `position` brought."""
        into = "INSERT INTO state_changes (position, room_id, type, state_key, event_id, prev_event_id)"
        if len(changes) == 1:
            [(key, old, new)] = changes
            batch.add(f"{into} VALUES (?, ?, ?, ?, ?, ?)", (position, room_id, *key, new, old))
        elif changes:
            batch.add_rows(
                f"{into} SELECT ?, ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)",
                (position, room_id),
                [(*key, new, old) for key, old, new in changes],
            )

    def add_outbound(self, batch: Batch, position: int, servers: Sequence[ServerName]) -> None:
        """Other servers (sorted) must get the event at `position`."""
        encoded = msgspec.json.encode(servers).decode()
        number = self._sets.get(encoded)
        if number is None:
            number = self._sets[encoded] = len(self._sets) + 1
        # Repeated for every event, so that no row depends on another batch having been stored.
        batch.add(
            "INSERT OR IGNORE INTO destination_sets (destination_set, servers) VALUES (?, ?)",
            (number, encoded),
        )
        batch.add("INSERT INTO outbound_events (position, destination_set) VALUES (?, ?)", (position, number))
