"""What was a user's own in a room goes along to its successor: tags, push rules about the room, direct chats.

It is copied when a user of this server joins the successor. Both rooms must say so: a room that only claims a
predecessor gets nothing. Source: Client-Server API, "Room Upgrades", server behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.events.ids import InvalidIdentifier, RoomID, ServerName, UserID, parse_room_id, server_name_of
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.accounts.push_rules import PushRules
from minihs.homeserver.errors import HomeserverError, UnknownRoom
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.logs import Logger
from minihs.rooms.state_map import StateChange
from minihs.store.memberships import MembershipStore
from minihs.store.writer import Batch

log = Logger()

TAGS = "m.tag"
DIRECT = "m.direct"


class CarriedSettings:
    """An observer of rooms that copies settings."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        rooms: Rooms,
        memberships: MembershipStore,
        account_data: AccountData,
        push_rules: PushRules,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._memberships = memberships
        self._account_data = account_data
        self._push_rules = push_rules

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """Nothing is stored with the event."""

    def event_failed(self, event: Event) -> None:
        """Nothing was done that must be undone."""

    def event_committed(self, committed: CommittedEvent) -> None:
        """Carry a user's settings along when they have joined, or when a room that both ours are in ends."""
        event = committed.event
        if event.membership == "join" and server_name_of(event.sender) == self._server_name:
            work = self._joined(committed)
        elif event.type == "m.room.tombstone" and server_name_of(event.sender) == self._server_name:
            # Who upgrades a room is in the successor before the old room says so.
            work = self._ended(event)
        else:
            return
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: log.failure("settings were not carried along", failure)
        )

    async def _joined(self, committed: CommittedEvent) -> None:
        user_id, room_id = committed.event.sender, committed.event.room_id
        for key, old, _new in committed.state_changes:
            if key == ("m.room.member", user_id) and old is not None:
                row = await self._rooms.row(old)
                if row is not None and row.event.membership == "join":
                    return  # a change of profile
        predecessor = await self._predecessor(room_id)
        if predecessor is not None and await self._successor(predecessor) == room_id:
            await self._carry(user_id, predecessor, room_id)

    async def _ended(self, tombstone: Event) -> None:
        successor = _room_id(tombstone.content.get("replacement_room"))
        if successor is None or await self._predecessor(successor) != tombstone.room_id:
            return
        if await self._memberships.is_joined(tombstone.sender, successor):
            await self._carry(tombstone.sender, tombstone.room_id, successor)

    async def _predecessor(self, room_id: RoomID) -> RoomID | None:
        create = await self._state(room_id, "m.room.create")
        named = None if create is None else create.content.get("predecessor")
        return _room_id(named.get("room_id")) if isinstance(named, dict) else None

    async def _successor(self, room_id: RoomID) -> RoomID | None:
        tombstone = await self._state(room_id, "m.room.tombstone")
        return None if tombstone is None else _room_id(tombstone.content.get("replacement_room"))

    async def _state(self, room_id: RoomID, event_type: str) -> Event | None:
        try:
            return await self._rooms.state_event(room_id, event_type)
        except UnknownRoom:
            return None

    async def _carry(self, user_id: UserID, old: RoomID, new: RoomID) -> None:
        if await self._memberships.maybe_membership(user_id, old) is None:
            return
        try:
            tags = await self._account_data.maybe(user_id, old, TAGS)
            if tags:
                await self._account_data.change(
                    user_id, new, TAGS, lambda present: None if present else dict(tags)
                )
            await self._account_data.change(user_id, None, DIRECT, lambda chats: _direct(chats, old, new))
            await self._push_rules.copy_rules_of_room(user_id, old, new)
        except HomeserverError as refusal:
            log.info("settings of {user_id} stay behind: {why}", user_id=user_id, why=refusal.message)


def _direct(chats: dict[str, Any] | None, old: RoomID, new: RoomID) -> dict[str, Any] | None:
    """Direct chats with the new room wherever the old one is; None when there is nothing to change."""
    changed = {
        person: [*rooms, new]
        for person, rooms in (chats or {}).items()
        if isinstance(rooms, list) and old in rooms and new not in rooms
    }
    return {**chats, **changed} if chats and changed else None


def _room_id(value: object) -> RoomID | None:
    try:
        return parse_room_id(value)
    except InvalidIdentifier:
        return None
