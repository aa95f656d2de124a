"""The shape that the content of a few state events must have when a client sets them.

The auth rules read these events; content of the wrong shape would be refused by a rule's number, or lock a
room for good, where a sentence about the field helps more. Other servers' events are not judged here.
Source: Client-Server API, the sections of the events that are named in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from minihs.events.ids import InvalidIdentifier, parse_user_id
from minihs.homeserver.errors import BadContent

MEMBERSHIPS = ("invite", "join", "knock", "leave", "ban")
LEVELS = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
LEVEL_TABLES = ("users", "events", "notifications")


def check_state_content(event_type: str, content: Mapping[str, Any]) -> None:
    """Raise BadContent when a client's content for this type of state event has the wrong shape."""
    check = _CHECKS.get(event_type)
    if check is not None:
        check(content)


def _check_member(content: Mapping[str, Any]) -> None:
    if content.get("membership") not in MEMBERSHIPS:
        raise BadContent(f"membership must be one of {', '.join(MEMBERSHIPS)}.")
    for key in ("displayname", "avatar_url", "reason"):
        if not isinstance(content.get(key), str | None):
            raise BadContent(f"{key} must be a string.")


def _check_join_rules(content: Mapping[str, Any]) -> None:
    if not isinstance(content.get("join_rule"), str):
        raise BadContent("join_rule must be a string, such as invite or public.")
    if not isinstance(content.get("allow", []), list):
        raise BadContent("allow must be a list of conditions.")


def _check_power_levels(content: Mapping[str, Any]) -> None:
    for key in LEVELS:
        if key in content and not _is_level(content[key]):
            raise BadContent(f"{key} must be an integer.")
    for key in LEVEL_TABLES:
        table = content.get(key, {})
        if not isinstance(table, Mapping) or not all(_is_level(level) for level in table.values()):
            raise BadContent(f"{key} must be an object whose values are integers.")
    for user_id in content.get("users", {}):
        try:
            parse_user_id(user_id)
        except InvalidIdentifier as error:
            raise BadContent(f"users must name users by their ID: {error}") from error


def _is_level(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "m.room.member": _check_member,
    "m.room.join_rules": _check_join_rules,
    "m.room.power_levels": _check_power_levels,
}
