"""What a room's `m.room.join_rules` lets people do, as far as its version knows the rule.

Source: Client-Server API, "m.room.join_rules" and "Restricted rooms"; room versions 7, 8 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.events.ids import InvalidIdentifier, RoomID, parse_room_id
from minihs.events.versions import RoomVersion

MAX_CONDITIONS = 100
"""Rooms of an `allow` list that are looked at; the specification sets no bound."""


def is_restricted(join_rule: object, version: RoomVersion) -> bool:
    """Whether members of other rooms may join without an invite."""
    match join_rule:
        case "restricted":
            return version.restricted_joins
        case "knock_restricted":
            return version.knock_restricted
    return False


def lets_knock(join_rule: object, version: RoomVersion) -> bool:
    """Whether anybody may ask to be let in."""
    match join_rule:
        case "knock":
            return version.knocking
        case "knock_restricted":
            return version.knock_restricted
    return False


def allowed_rooms(join_rules: Mapping[str, Any]) -> tuple[RoomID, ...]:
    """The rooms whose members meet a condition of the content of `m.room.join_rules`, each once."""
    allow = join_rules.get("allow")
    found: dict[RoomID, None] = {}
    for condition in (allow if isinstance(allow, list) else ())[:MAX_CONDITIONS]:
        if isinstance(condition, Mapping) and condition.get("type") == "m.room_membership":
            try:
                found[parse_room_id(condition.get("room_id"))] = None
            except InvalidIdentifier:
                continue
    return tuple(found)
