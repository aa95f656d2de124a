"""Auth rule 10 of room version 12: changing the power levels (9.x in v6 to v11).

Levels are compared as numbers, so "50" and 50 are no change where strings are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minihs.events.event import Event
from minihs.events.ids import InvalidIdentifier, parse_user_id
from minihs.events.versions import RoomVersion
from minihs.rooms.auth.verdict import Allowed, Refused
from minihs.rooms.power import creators, parse_level

_NAMED = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")

_Change = tuple[str, int | None, int | None]
"""A name, its level before and its level after; `None` where there is none."""


def authorise_power_levels(
    event: Event, create: Event, current: Event | None, sender_level: float, version: RoomVersion
) -> Allowed | Refused:
    """Rule 10: `m.room.power_levels`, sent by someone of `sender_level` where `current` holds."""
    new = event.content
    refused = _check_shape(new, version)
    if refused is not None:
        return refused

    # v12 10.4, since v12
    users = new.get("users", {})
    if version.privileged_creators and not creators(create).isdisjoint(users):
        return Refused("v12 10.4", "creators have infinite power and cannot be listed in users")

    # v12 10.5, since v1
    if current is None:
        return Allowed("v12 10.5")
    old = current.content

    # v12 10.6, since v1
    for name, before, after in _changes(old, new, version, _NAMED):
        # v12 10.6.1
        if before is not None and before > sender_level:
            return Refused("v12 10.6.1", f"{name} is above the sender's power")
        # v12 10.6.2
        if after is not None and after > sender_level:
            return Refused("v12 10.6.2", f"{name} would be above the sender's power")

    # `events` since v1, `notifications` since v6
    groups = ("events", "notifications") if version.notifications_need_power else ("events",)
    changes = [change for group in groups for change in _group_changes(old, new, version, group)]
    for name, before, _ in changes:
        # v12 10.7.1, since v1
        if before is not None and before > sender_level:
            return Refused("v12 10.7.1", f"the level for {name} is above the sender's power")
    for name, _, after in changes:
        # v12 10.8.1, since v1
        if after is not None and after > sender_level:
            return Refused("v12 10.8.1", f"the level for {name} would be above the sender's power")

    user_changes = list(_group_changes(old, new, version, "users"))
    for name, before, _ in user_changes:
        # v12 10.9.1, since v1
        if before is not None and before >= sender_level and name != event.sender:
            return Refused("v12 10.9.1", f"{name} has at least the sender's power")
    for name, _, after in user_changes:
        # v12 10.10.1, since v1
        if after is not None and after > sender_level:
            return Refused("v12 10.10.1", f"{name} would have more than the sender's power")

    # v12 10.11 (numbered 10 a second time in the source), since v1
    return Allowed("v12 10.11")


def _check_shape(content: Mapping[str, Any], version: RoomVersion) -> Refused | None:
    if not version.string_power_levels:
        # v12 10.1, since v10
        for name in _NAMED:
            if name in content and type(content[name]) is not int:
                return Refused("v12 10.1", f"{name} must be an integer")
        # v12 10.2, since v10
        for group in ("events", "notifications"):
            if group in content and not _are_levels(content[group], version):
                return Refused("v12 10.2", f"{group} must be an object of integers")
    # v12 10.3, since v1; until v9 strings that hold an integer will do, until v5 floats
    users = content.get("users", {})
    if not _are_levels(users, version):
        return Refused("v12 10.3", "users must be an object of integers")
    try:
        for user in users:
            parse_user_id(user)
    except InvalidIdentifier:
        return Refused("v12 10.3", "the keys of users must be user IDs")
    return None


def _are_levels(group: object, version: RoomVersion) -> bool:
    return type(group) is dict and all(parse_level(level, version) is not None for level in group.values())


def _group_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], version: RoomVersion, group: str
) -> Iterator[_Change]:
    before, after = (_entries(content, group) for content in (old, new))
    return _changes(before, after, version, sorted(before.keys() | after.keys()))


def _entries(content: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    entries = content.get(group)
    return entries if isinstance(entries, dict) else {}


def _changes(
    old: Mapping[str, Any], new: Mapping[str, Any], version: RoomVersion, names: tuple[str, ...] | list[str]
) -> Iterator[_Change]:
    for name in names:
        before = parse_level(old.get(name), version)
        after = parse_level(new.get(name), version)
        if before != after:
            yield name, before, after
