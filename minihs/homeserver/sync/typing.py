"""Who is typing where: in memory only, gone with a restart.

Source: Client-Server API, "Typing Notifications"; Server-Server API, "Typing Notifications" (m.typing EDU).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from minihs.events.ids import (
    InvalidIdentifier,
    RoomID,
    ServerName,
    UserID,
    parse_room_id,
    parse_user_id,
    server_name_of,
)
from minihs.homeserver.errors import Forbidden
from minihs.platform.clock import Clock

DEFAULT_TIMEOUT_MS = 30_000
MAX_TIMEOUT_MS = 120_000
REMOTE_TIMEOUT_MS = 60_000
"""An EDU names no timeout; servers repeat it while the user goes on typing."""
REPEAT_EDU_MS = 25_000
"""How long after the last EDU a local user who goes on typing is announced again."""
MAX_TYPING_PER_ROOM = 200


class JoinedCheck(Protocol):
    """Answers whether a user is joined to a room now."""

    async def __call__(self, user_id: UserID, room_id: RoomID) -> bool: ...


PublishEdu = Callable[[RoomID, Mapping[str, Any]], None]
"""Hands an EDU to the queues of the other servers in the room."""


class _Room(msgspec.Struct):
    position: int = 0
    users: dict[UserID, Any] = msgspec.field(default_factory=dict)  # user → the timer that ends it
    announced: dict[UserID, float] = msgspec.field(
        default_factory=dict
    )  # local user → when the last EDU left


class Typing:
    """The users who are typing, by room.

    Positions begin at the wall time of the start, so that a token from an earlier run of the server is
    recognised (see `is_from_before`).
    """

    def __init__(
        self,
        clock: Clock,
        *,
        is_joined: JoinedCheck,
        publish_edu: PublishEdu,
        wake_room: Callable[[RoomID], None],
    ) -> None:
        self._clock = clock
        self._is_joined = is_joined
        self._publish_edu = publish_edu
        self._wake_room = wake_room
        self._start = clock.wall_ms()
        self._rooms: dict[RoomID, _Room] = {}
        self.position = self._start

    def is_from_before(self, position: int) -> bool:
        """Whether a token's position belongs to an earlier run, whose typing users have all stopped."""
        return not self._start <= position <= self.position

    def changed_rooms(self, after: int) -> list[RoomID]:
        """The rooms whose list changed later than `after`."""
        if after >= self.position:
            return []
        return [room_id for room_id, room in self._rooms.items() if room.position > after]

    def users(self, room_id: RoomID) -> Sequence[UserID]:
        """Who is typing in the room, sorted."""
        room = self._rooms.get(room_id)
        return sorted(room.users) if room is not None else []

    async def set(self, user_id: UserID, room_id: RoomID, timeout_ms: int | None) -> None:
        """A local user types for `timeout_ms` more (at most two minutes); None: has stopped.

        Raises Forbidden when the user is not joined to the room.
        """
        if not await self._is_joined(user_id, room_id):
            raise Forbidden("You are not joined to this room.")
        if timeout_ms is None:
            self._stop(user_id, room_id, local=True)
            return
        self._start_typing(user_id, room_id, min(timeout_ms, MAX_TIMEOUT_MS), local=True)
        room = self._rooms.get(room_id)
        if room is None or user_id not in room.users:
            return
        now_ms = self._clock.monotonic_ms()
        announced_ms = room.announced.get(user_id)
        if announced_ms is None or now_ms - announced_ms >= REPEAT_EDU_MS:
            room.announced[user_id] = now_ms
            self._publish(user_id, room_id, typing=True)

    async def inbound_edu(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take an m.typing EDU; what is malformed, or about others' users, is ignored."""
        try:
            room_id, user_id = parse_room_id(content.get("room_id")), parse_user_id(content.get("user_id"))
        except InvalidIdentifier:
            return
        typing = content.get("typing")
        if (
            type(typing) is not bool
            or server_name_of(user_id) != origin
            or not await self._is_joined(user_id, room_id)
        ):
            return
        if typing:
            self._start_typing(user_id, room_id, REMOTE_TIMEOUT_MS, local=False)
        else:
            self._stop(user_id, room_id, local=False)

    def user_left(self, user_id: UserID, room_id: RoomID) -> None:
        """The user is no longer joined."""
        self._stop(user_id, room_id, local=False)

    def stop(self) -> None:
        """Cancel all timers."""
        for room in self._rooms.values():
            for timer in room.users.values():
                timer.cancel()
            room.users.clear()

    def _start_typing(self, user_id: UserID, room_id: RoomID, timeout_ms: int, *, local: bool) -> None:
        room = self._rooms.setdefault(room_id, _Room())
        timer = room.users.get(user_id)
        if timer is None and len(room.users) >= MAX_TYPING_PER_ROOM:
            return
        if timer is not None:
            timer.cancel()
        room.users[user_id] = self._clock.call_later(timeout_ms, self._time_out, user_id, room_id, local)
        if timer is None:
            self._changed(room_id, room)

    def _time_out(self, user_id: UserID, room_id: RoomID, local: bool) -> None:
        room = self._rooms[room_id]
        del room.users[user_id]
        self._ended(user_id, room_id, room, local=local)

    def _stop(self, user_id: UserID, room_id: RoomID, *, local: bool) -> None:
        room = self._rooms.get(room_id)
        timer = room.users.pop(user_id, None) if room is not None else None
        if room is None or timer is None:
            return
        timer.cancel()
        self._ended(user_id, room_id, room, local=local)

    def _ended(self, user_id: UserID, room_id: RoomID, room: _Room, *, local: bool) -> None:
        room.announced.pop(user_id, None)
        self._changed(room_id, room)
        if local:
            self._publish(user_id, room_id, typing=False)

    def _changed(self, room_id: RoomID, room: _Room) -> None:
        self.position += 1
        room.position = self.position
        self._wake_room(room_id)

    def _publish(self, user_id: UserID, room_id: RoomID, *, typing: bool) -> None:
        content = {"room_id": room_id, "user_id": user_id, "typing": typing}
        self._publish_edu(room_id, {"edu_type": "m.typing", "content": content})


def typing_event(user_ids: Sequence[UserID]) -> dict[str, Any]:
    """The m.typing event of a room."""
    return {"type": "m.typing", "content": {"user_ids": list(user_ids)}}
