"""Account data in a sync: what changed of it, and whom the user ignores.

Source: Client-Server API, "Client Config", "Ignoring Users".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.history.event_filter import predicate
from minihs.homeserver.sync.model import Moment, SyncRequest
from minihs.homeserver.sync.positions import ACCOUNT_DATA
from minihs.store.account_data import AccountDataStore
from minihs.store.cache import LruCache
from minihs.store.streams import Stream

IGNORED_USERS = "m.ignored_user_list"
CACHED_USERS = 10_000


class PrivateData:
    """Reads account data for `/sync`."""

    def __init__(self, store: AccountDataStore, stream: Stream) -> None:
        self._store = store
        self._stream = stream
        self._ignored: LruCache[UserID, tuple[int, frozenset[str]]] = LruCache(CACHED_USERS)

    @property
    def position(self) -> int:
        """The highest durable position."""
        return self._stream.current

    async def changes(
        self, moment: Moment
    ) -> tuple[list[dict[str, Any]], Mapping[RoomID, list[dict[str, Any]]]]:
        """The events that are new to the client: those of no room, and those of each room."""
        request = moment.request
        after, upto = moment.span(ACCOUNT_DATA)
        if after is not None and after >= upto:
            return [], {}
        everywhere: list[dict[str, Any]] = []
        by_room: dict[RoomID, list[dict[str, Any]]] = {}
        wanted = predicate(request.filter.account_data)
        for row in await self._store.all_since(request.user_id, after or 0, upto):
            event = {"type": row.type, "content": msgspec.Raw(row.content)}
            if row.room_id is not None:
                if _wanted_in_room(request, row.room_id, row.type):
                    by_room.setdefault(row.room_id, []).append(event)
            elif wanted is None or wanted(row.type, request.user_id):
                everywhere.append(event)
        return everywhere, by_room

    async def of_rooms(
        self, moment: Moment, room_ids: frozenset[RoomID]
    ) -> Mapping[RoomID, list[dict[str, Any]]]:
        """Everything that the user has set in these rooms, whenever it was."""
        by_room: dict[RoomID, list[dict[str, Any]]] = {}
        _, upto = moment.span(ACCOUNT_DATA)
        for row in await self._store.all_since(moment.request.user_id, 0, upto):
            if row.room_id in room_ids and _wanted_in_room(moment.request, row.room_id, row.type):
                event = {"type": row.type, "content": msgspec.Raw(row.content)}
                by_room.setdefault(row.room_id, []).append(event)
        return by_room

    async def ignored_users(self, user_id: UserID) -> frozenset[str]:
        """Whose messages and invites the user does not want to get."""
        now = self._stream.current
        known = self._ignored.get(user_id)
        if known is not None and known[0] == now:
            return known[1]
        content = await self._store.maybe_content(user_id, None, IGNORED_USERS)
        ignored = _user_ids(content) if content is not None else frozenset()
        self._ignored.put(user_id, (now, ignored))
        return ignored


def _wanted_in_room(request: SyncRequest, room_id: RoomID, type_: str) -> bool:
    room_filter = request.filter.room.account_data
    if room_id in room_filter.not_rooms or (
        room_filter.rooms is not None and room_id not in room_filter.rooms
    ):
        return False
    wanted = predicate(room_filter)
    return wanted is None or wanted(type_, request.user_id)


def _user_ids(content: bytes) -> frozenset[str]:
    decoded = msgspec.json.decode(content)
    users = decoded.get("ignored_users") if isinstance(decoded, dict) else None
    return frozenset(users) if isinstance(users, dict) else frozenset()
