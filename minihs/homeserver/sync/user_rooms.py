"""What the users who sync are to which rooms, kept in memory and in step with what becomes durable.

It answers two questions of `/sync` without SQL: which rooms concern a user, and which users a new event
concerns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from minihs.events.event import Event
from minihs.events.ids import RoomID, UserID
from minihs.store.timeline import MembershipRecord, TimelineStore

MAX_USERS = 10_000
MAX_EVICTION_ATTEMPTS = 16  # who waits is passed over; then the limit is exceeded rather than searched for


class _UserEntry(msgspec.Struct):
    rooms: dict[RoomID, MembershipRecord]
    newest: int  # position of the last change of any of them


class UserRooms:
    """The memberships of users, loaded when first asked for."""

    def __init__(
        self,
        store: TimelineStore,
        *,
        is_listening: Callable[[UserID], bool],
        max_users: int = MAX_USERS,
    ) -> None:
        self._store = store
        self._is_listening = is_listening
        self._max_users = max_users
        self._users: dict[UserID, _UserEntry] = {}
        self._watchers: dict[RoomID, dict[UserID, None]] = {}
        self._generation = 0

    async def load(self, user_id: UserID, *, afresh: bool = False) -> None:
        """Make sure that `of` can answer for this user; with `afresh`, with what is stored now."""
        entry = None if afresh else self._users.get(user_id)
        while entry is None:
            generation = self._generation
            records = await self._store.all_memberships(user_id)
            if generation == self._generation:  # nothing changed while the store was asked
                rooms = {record.room_id: record for record in records}
                entry = _UserEntry(rooms, max((record.position for record in records), default=0))
                for record in records:
                    self._watch(user_id, record)
        self._users.pop(user_id, None)
        self._users[user_id] = entry
        if len(self._users) > self._max_users:
            self._evict()

    def of(self, user_id: UserID) -> Mapping[RoomID, MembershipRecord]:
        """The user's rooms, whatever they are to them; call `load` before. To be read before any await."""
        return self._users[user_id].rooms

    def newest_change(self, user_id: UserID) -> int:
        """The position of the last change of any of the user's memberships; as `of`."""
        return self._users[user_id].newest

    def watchers(self, room_id: RoomID) -> Iterable[UserID]:
        """Those loaded users who are joined to the room."""
        return self._watchers.get(room_id, ())

    def invalidate(self, user_id: UserID) -> None:
        """Forget what is known of a user: rows of theirs were changed otherwise than by an event."""
        self._generation += 1
        entry = self._users.pop(user_id, None)
        if entry is not None:
            for room_id in entry.rooms:
                self._unwatch(user_id, room_id)

    def apply(
        self,
        event: Event,
        position: int,
        changes: Sequence[tuple[tuple[str, str], str | None, str | None]],
    ) -> list[UserID]:
        """Follow the changes of memberships that came with an event; returns whose they are."""
        concerned: list[UserID] = []
        for (type_, state_key), _old, new in changes:
            if type_ != "m.room.member":
                continue
            self._generation += 1
            user_id = UserID(state_key)
            concerned.append(user_id)
            entry = self._users.get(user_id)
            if entry is None:
                continue
            if new != event.event_id or event.membership is None:
                self.invalidate(user_id)  # a resolution brought back another event
                continue
            record = MembershipRecord(
                event.room_id, event.membership, event.event_id, event.sender, position, False, None
            )
            entry.rooms[event.room_id] = record
            entry.newest = position
            self._watch(user_id, record)
        return concerned

    def _evict(self) -> None:
        """Forget the user who synced longest ago; not somebody who waits, and would never be woken."""
        for user_id in list(islice(self._users, MAX_EVICTION_ATTEMPTS)):
            if not self._is_listening(user_id):
                self.invalidate(user_id)
                return
            self._users[user_id] = self._users.pop(user_id)

    def _watch(self, user_id: UserID, record: MembershipRecord) -> None:
        if record.membership == "join":
            self._watchers.setdefault(record.room_id, {})[user_id] = None
        else:
            self._unwatch(user_id, record.room_id)

    def _unwatch(self, user_id: UserID, room_id: RoomID) -> None:
        watchers = self._watchers.get(room_id)
        if watchers is not None:
            watchers.pop(user_id, None)
            if not watchers:
                del self._watchers[room_id]
