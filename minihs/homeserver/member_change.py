"""A change of membership: who makes whom what to a room, before it is an event and whatever way it takes.

Source: Client-Server API, "Room membership".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.store.along import Along, Also

MEMBER = "m.room.member"
PRESENT = ("join", "invite", "knock")
"""The memberships that a leave ends."""
AUTHORISED_VIA = "join_authorised_via_users_server"
"""Where a join to a restricted room says who vouches for it; only servers say so."""


class MemberChange(msgspec.Struct, frozen=True, kw_only=True):
    """What `sender` wants `target` to be to a room; `content` is the member event's (`membership`, profile,
    `reason`). `along` is stored in the batch that makes the change durable here."""

    room_id: RoomID
    sender: UserID
    target: UserID
    content: Mapping[str, Any]
    along: Along | None = None

    @property
    def draft(self) -> EventDraft:
        """The member event, for rooms that this server is in."""
        along = self.along
        return EventDraft(
            room_id=self.room_id,
            sender=self.sender,
            type=MEMBER,
            state_key=self.target,
            content=self.content,
            delay_id=None if along is None else along.delay_id,
            was_future=along is not None and along.was_future,
        )

    @property
    def also(self) -> Also | None:
        """The rows of `along`, as `Rooms.send` takes them."""
        return None if self.along is None else self.along.also
