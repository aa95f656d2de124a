"""Summaries of rooms for people outside of them: how one is made of state, and whom it lets in.

Source: Client-Server API, `GET /room_summary`, `GET /hierarchy` and "Published room directory"; Server-Server
API, "Spaces".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.events.event import Event, StateKey
from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.join_rules import allowed_rooms, is_restricted, lets_knock
from minihs.rooms.power import CREATE

NAME: StateKey = ("m.room.name", "")
TOPIC: StateKey = ("m.room.topic", "")
AVATAR: StateKey = ("m.room.avatar", "")
ALIAS: StateKey = ("m.room.canonical_alias", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")
VISIBILITY: StateKey = ("m.room.history_visibility", "")
GUEST_ACCESS: StateKey = ("m.room.guest_access", "")
ENCRYPTION: StateKey = ("m.room.encryption", "")

SUMMARISED: tuple[StateKey, ...] = (
    CREATE,
    NAME,
    TOPIC,
    AVATAR,
    ALIAS,
    JOIN_RULES,
    VISIBILITY,
    GUEST_ACCESS,
    ENCRYPTION,
)
"""The state that a summary is made of."""


class RoomSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A room as it is told to people outside. Encoded and decoded it is the JSON of the endpoints."""

    room_id: RoomID
    num_joined_members: int
    world_readable: bool
    guest_can_join: bool
    name: str | None = None
    topic: str | None = None
    canonical_alias: str | None = None
    avatar_url: str | None = None
    join_rule: str | None = None
    """None when another server said nothing: then it counts as `public`, as the specification has it."""
    room_type: str | None = None
    encryption: str | None = None
    room_version: str | None = None
    allowed_room_ids: list[RoomID] | None = None

    @property
    def is_open(self) -> bool:
        """Whether anybody may read, join or knock."""
        rule = self.join_rule or "public"
        return self.world_readable or rule == "public" or lets_knock(rule, self._version)

    @property
    def admitting_rooms(self) -> tuple[RoomID, ...]:
        """The rooms whose members may join."""
        if not is_restricted(self.join_rule, self._version):
            return ()
        return tuple(self.allowed_room_ids or ())

    @property
    def _version(self) -> RoomVersion:
        # Servers that are older than the field talk about rooms of versions that know the rule they name.
        return ROOM_VERSIONS.get(self.room_version or "", _NEWEST)


_NEWEST = list(ROOM_VERSIONS.values())[-1]


def summary_of(
    room_id: RoomID, version: RoomVersion, state: Mapping[StateKey, Event], joined_members: int
) -> RoomSummary:
    """The summary of a room whose SUMMARISED state is `state`; values of a wrong type count as not set."""
    rules = state[JOIN_RULES].content if JOIN_RULES in state else {}
    rule = _text(state, JOIN_RULES, "join_rule") or "invite"
    return RoomSummary(
        room_id=room_id,
        num_joined_members=joined_members,
        world_readable=_text(state, VISIBILITY, "history_visibility") == "world_readable",
        guest_can_join=_text(state, GUEST_ACCESS, "guest_access") == "can_join",
        name=_text(state, NAME, "name"),
        topic=_text(state, TOPIC, "topic"),
        canonical_alias=_text(state, ALIAS, "alias"),
        avatar_url=_text(state, AVATAR, "url"),
        join_rule=rule,
        room_type=_text(state, CREATE, "type"),
        encryption=_text(state, ENCRYPTION, "algorithm"),
        room_version=version.id,
        allowed_room_ids=list(allowed_rooms(rules)) if is_restricted(rule, version) else None,
    )


def _text(state: Mapping[StateKey, Event], key: StateKey, field: str) -> str | None:
    event = state.get(key)
    value: Any = None if event is None else event.content.get(field)
    return value if isinstance(value, str) and value else None
