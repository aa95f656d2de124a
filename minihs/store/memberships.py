"""Who is in which room, as the `memberships` table has it: reads, and forgetting.

The rows themselves are written together with the events they come from. Source: Client-Server API,
"Room membership".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import EventID, RoomID, UserID
from minihs.store.reader import Reader, Row
from minihs.store.writer import Batch


class MembershipRow(msgspec.Struct, frozen=True):
    """One user's current membership of one room."""

    user_id: UserID
    room_id: RoomID
    membership: str
    event_id: EventID
    sender: UserID
    position: int
    forgotten: bool


_COLUMNS = "user_id, room_id, membership, event_id, sender, position, forgotten"


def _row(values: Row) -> MembershipRow:
    user_id, room_id, membership, event_id, sender, position, forgotten = values
    return MembershipRow(user_id, room_id, membership, event_id, sender, position, bool(forgotten))


class MembershipStore:
    """Reads of `memberships`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_membership(self, user_id: UserID, room_id: RoomID) -> MembershipRow | None:
        """What the user is to the room; None when they never were anything."""
        row = await self._reader.maybe(
            f"SELECT {_COLUMNS} FROM memberships WHERE user_id = ? AND room_id = ?",
            (user_id, room_id),
        )
        return None if row is None else _row(row)

    async def is_joined(self, user_id: UserID, room_id: RoomID) -> bool:
        """Whether the user is joined to the room."""
        row = await self.maybe_membership(user_id, room_id)
        return row is not None and row.membership == "join"

    async def maybe_invite_state(self, user_id: UserID, room_id: RoomID) -> bytes | None:
        """What came along with an invite or a knock elsewhere, as JSON; None when there is no such thing."""
        row = await self._reader.maybe(
            "SELECT invite_state FROM memberships WHERE user_id = ? AND room_id = ?", (user_id, room_id)
        )
        return None if row is None else row[0]

    async def all_of_user(self, user_id: UserID) -> Sequence[MembershipRow]:
        """Every room the user is or was something to and has not forgotten, by room ID."""
        rows = await self._reader.all(
            f"SELECT {_COLUMNS} FROM memberships WHERE user_id = ? AND forgotten = 0 ORDER BY room_id",
            (user_id,),
        )
        return [_row(row) for row in rows]

    async def all_rooms(self, user_id: UserID, membership: str) -> Sequence[RoomID]:
        """The rooms in which the user's membership is this one, by room ID."""
        rows = await self._reader.all(
            "SELECT room_id FROM memberships WHERE user_id = ? AND membership = ? ORDER BY room_id",
            (user_id, membership),
        )
        return [room_id for (room_id,) in rows]

    async def all_users(self, room_id: RoomID, membership: str) -> Sequence[UserID]:
        """The users, ours and others', whose membership of the room is this one, by user ID."""
        rows = await self._reader.all(
            "SELECT user_id FROM memberships WHERE room_id = ? AND membership = ? ORDER BY user_id",
            (room_id, membership),
        )
        return [user_id for (user_id,) in rows]

    async def all_mutual(self, user_id: UserID, other: UserID) -> Sequence[RoomID]:
        """The rooms that both users are joined to, by room ID."""
        rows = await self._reader.all(
            "SELECT one.room_id FROM memberships one JOIN memberships two USING (room_id)"
            " WHERE one.user_id = ? AND two.user_id = ? AND one.membership = 'join'"
            " AND two.membership = 'join' ORDER BY one.room_id",
            (user_id, other),
        )
        return [room_id for (room_id,) in rows]

    def forget(self, batch: Batch, user_id: UserID, room_id: RoomID) -> None:
        """Note that the user wants to hear nothing more of a room that they are not in."""
        batch.add(
            "UPDATE memberships SET forgotten = 1 WHERE user_id = ? AND room_id = ?"
            " AND membership IN ('leave', 'ban')",
            (user_id, room_id),
        )
