"""Replacing a room by one of another version.

Source: Client-Server API, "Room Upgrades", server behaviour, whose steps are numbered here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minihs.events.canonical import MAX_INTEGER
from minihs.events.event import Event
from minihs.events.ids import RoomID, UserID
from minihs.events.versions import RoomVersion
from minihs.homeserver.errors import Forbidden, HomeserverError, UnknownRoom
from minihs.homeserver.member_change import MEMBER
from minihs.homeserver.room_actions.creation import (
    CREATE,
    POWER_LEVELS,
    InitialState,
    RoomCreation,
    default_power_levels,
)
from minihs.homeserver.room_actions.directory import CANONICAL_ALIAS, Directory
from minihs.homeserver.room_actions.state_content import LEVEL_TABLES, LEVELS
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.rooms.power import creators as creators_of
from minihs.rooms.power import parse_level
from minihs.rooms.spaces import CHILD, is_space
from minihs.store.directory import DirectoryStore
from minihs.store.memberships import MembershipStore
from minihs.store.writer import Batch

TOMBSTONE = "m.room.tombstone"
JOIN_RULES = "m.room.join_rules"
_TRANSFERRED = (
    JOIN_RULES,
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    CANONICAL_ALIAS,  # because its aliases move, too
)
BANS_AT_ONCE = 200
"""Bans that go into one batch; the first of them with the room itself."""
MAX_CHILDREN = 1_000
"""Children of a space that go along."""
_KEPT_OF_CREATE = ("type", "m.federate")


class RoomUpgrade:
    """Upgrades rooms."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        memberships: MembershipStore,
        creation: RoomCreation,
        directory: Directory,
        published: DirectoryStore,
    ) -> None:
        self._rooms = rooms
        self._memberships = memberships
        self._creation = creation
        self._directory = directory
        self._published = published

    async def upgrade(
        self,
        room_id: RoomID,
        upgrader: UserID,
        version: RoomVersion,
        additional_creators: Sequence[UserID] = (),
    ) -> RoomID:
        """Replace a room; returns its successor. Raises UnknownRoom, Forbidden, InvalidRoomState."""
        await self._check_allowed(room_id, upgrader)  # 1
        create = await self._state_event(room_id, CREATE)
        if create is None:
            raise UnknownRoom(f"This server does not know the room {room_id}.")
        creators = [name for name in dict.fromkeys(additional_creators) if name != upgrader]
        create_content = await self._create_content(create, upgrader, version, creators)  # 2
        states, levels = await self._transferred(room_id, upgrader, create, version, creators)  # 3
        bans = await self._bans(room_id, {upgrader, *creators})
        # The old room's levels come last: until then the upgrader may do everything.
        states += bans[:BANS_AT_ONCE]
        if len(bans) <= BANS_AT_ONCE:
            states, levels = states + levels, []
        was_published = await self._published.is_published(room_id)

        def also(batch: Batch, event: Event) -> None:
            if event.type == CREATE:
                self._directory.move_aliases(batch, room_id, event.room_id)  # 4
                if was_published:
                    self._published.set_published(batch, room_id, False)
                    self._published.set_published(batch, event.room_id, True)

        successor = await self._creation.create_with(version, upgrader, create_content, states, also=also)
        for start in range(BANS_AT_ONCE, len(bans), BANS_AT_ONCE):
            # Before the old room says where to go: nobody who is banned may come first.
            await self._rooms.send_all(
                [_draft(successor, upgrader, ban) for ban in bans[start : start + BANS_AT_ONCE]]
            )
        for state in levels:
            await self._rooms.send(_draft(successor, upgrader, state))
        tombstone = {"body": "This room has been replaced.", "replacement_room": successor}
        await self._send(room_id, upgrader, TOMBSTONE, tombstone)  # 5
        await self._quieten(room_id, upgrader)  # 6
        return successor

    async def _check_allowed(self, room_id: RoomID, upgrader: UserID) -> None:
        member = await self._state_event(room_id, MEMBER, upgrader)
        if member is None or member.membership != "join":
            raise Forbidden("You are not in this room.")
        power = await self._rooms.power_levels(room_id)
        if power.level_of(upgrader) < power.needed_for_event(TOMBSTONE, is_state=True):
            raise Forbidden("You need the power to send m.room.tombstone.")

    async def _create_content(
        self, create: Event, upgrader: UserID, version: RoomVersion, creators: Sequence[UserID]
    ) -> dict[str, Any]:
        latest = await self._rooms.extremities(create.room_id)
        content: dict[str, Any] = {
            key: create.content[key] for key in _KEPT_OF_CREATE if key in create.content
        }
        content["room_version"] = version.id
        content["predecessor"] = {"room_id": create.room_id, "event_id": latest[0]}
        if version.creator_in_content:
            content["creator"] = upgrader
        if version.privileged_creators and creators:
            content["additional_creators"] = list(creators)
        return content

    async def _transferred(
        self,
        room_id: RoomID,
        upgrader: UserID,
        create: Event,
        version: RoomVersion,
        creators: Sequence[UserID],
    ) -> tuple[list[InitialState], list[InitialState]]:
        """The state that goes along, and what is set after it: the old room's power levels, if it has any."""
        old_levels = await self._levels(room_id)
        users = dict(old_levels.get("users", {}))
        if version.privileged_creators:
            starting = default_power_levels((), version, 0)
            users = {name: level for name, level in users.items() if name not in (upgrader, *creators)}
        else:
            # The upgrader must be able to set every level of the old room.
            starting = default_power_levels((upgrader,), version, 0)
            highest = max((100, *_levels_in(old_levels)))
            starting["users"][upgrader] = highest
            # Who had power by having made the room has it by the list from now on.
            unlisted = creators_of(create) if create.version.privileged_creators else ()
            for name in (upgrader, *sorted(unlisted)):
                users.setdefault(name, highest)
        states = [InitialState(POWER_LEVELS, starting)]
        for event_type in _TRANSFERRED:
            event = await self._state_event(room_id, event_type)
            if event is not None:
                content = event.content
                if event_type == JOIN_RULES:
                    content = join_rules_for(version, content)
                states.append(InitialState(event_type, content))
        if is_space(create.content):
            states += await self._space_children(room_id)
        levels = [InitialState(POWER_LEVELS, {**old_levels, "users": users})] if old_levels else []
        return states, levels

    async def _bans(self, room_id: RoomID, creators: set[UserID]) -> list[InitialState]:
        """The bans of the old room, by user; not those of people who make the new one."""
        banned = [user for user in await self._memberships.all_users(room_id, "ban") if user not in creators]
        events = await self._rooms.state_events(room_id, [(MEMBER, user_id) for user_id in banned])
        return [
            InitialState(
                MEMBER,
                {
                    "membership": "ban",
                    **({"reason": reason} if isinstance(reason := event.content.get("reason"), str) else {}),
                },
                user_id,
            )
            for (_, user_id), event in sorted(events.items())
            if event.membership == "ban"
        ]

    async def _space_children(self, room_id: RoomID) -> list[InitialState]:
        """What a space holds, which its successor holds, too."""
        state = await self._rooms.current_state(room_id)
        keys = sorted(key for key, _ in state.unsorted_items() if key[0] == CHILD)[:MAX_CHILDREN]
        return [
            InitialState(CHILD, event.content, key[1])
            for key, event in (await self._rooms.state_events(room_id, keys)).items()
            if event.content.get("via")
        ]

    async def _levels(self, room_id: RoomID) -> dict[str, Any]:
        event = await self._state_event(room_id, POWER_LEVELS)
        return {} if event is None else power_levels_in_integers(event)

    async def _quieten(self, room_id: RoomID, upgrader: UserID) -> None:
        levels = await self._levels(room_id)
        level = max(50, levels.get("users_default", 0) + 1)
        for key in ("events_default", "invite"):
            levels[key] = max(level, levels.get(key, 0))
        try:
            await self._send(room_id, upgrader, POWER_LEVELS, levels)
            if await self._state_event(room_id, CANONICAL_ALIAS) is not None:
                await self._send(room_id, upgrader, CANONICAL_ALIAS, {})
        except HomeserverError:
            return  # "if possible": the tombstone says enough

    async def _send(self, room_id: RoomID, sender: UserID, event_type: str, content: dict[str, Any]) -> None:
        await self._rooms.send(
            EventDraft(room_id=room_id, sender=sender, type=event_type, state_key="", content=content)
        )

    async def _state_event(self, room_id: RoomID, event_type: str, state_key: str = "") -> Event | None:
        return await self._rooms.state_event(room_id, event_type, state_key)


def _draft(room_id: RoomID, sender: UserID, state: InitialState) -> EventDraft:
    return EventDraft(
        room_id=room_id, sender=sender, type=state.type, state_key=state.state_key, content=state.content
    )


def join_rules_for(version: RoomVersion, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Join rules, as far as rooms of a version know them: the nearest that lets nobody else in."""
    rule = content.get("join_rule")
    if rule == "knock_restricted" and not version.knock_restricted:
        rule = "restricted" if version.restricted_joins else "knock"
    if rule == "restricted" and not version.restricted_joins:
        rule = "invite"
    if rule == "knock" and not version.knocking:
        rule = "invite"
    return content if rule == content.get("join_rule") else {**content, "join_rule": rule}


def power_levels_in_integers(event: Event) -> dict[str, Any]:
    """The content of a power-levels event with integers for levels, as every version takes them.

    Until v9 it may hold strings, until v5 floats and integers of any size; what is no level is left out.
    """

    def as_integer(value: object) -> int | None:
        level = parse_level(value, event.version)
        return None if level is None else max(-MAX_INTEGER, min(level, MAX_INTEGER))

    levels: dict[str, Any] = {}
    for name, value in event.content.items():
        if name in LEVEL_TABLES:
            table = value.items() if isinstance(value, Mapping) else ()
            levels[name] = {key: level for key, entry in table if (level := as_integer(entry)) is not None}
        elif name in LEVELS:
            level = as_integer(value)
            if level is not None:
                levels[name] = level
        else:
            levels[name] = value
    return levels


def _levels_in(content: dict[str, Any]) -> list[int]:
    tables = [content, *(content.get(key, {}) for key in ("users", "events", "notifications"))]
    return [level for table in tables for level in table.values() if isinstance(level, int)]
