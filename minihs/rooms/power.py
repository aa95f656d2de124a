"""Who may do what: a view over a room's create and power-levels events.

Numbers only; which act needs which number is said by `minihs.rooms.auth`. Answers to `m.room.power_levels` in
the client-server API and to "Deprecated event content schemas" in the room versions before 10.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from minihs.events.event import Event, StateKey
from minihs.events.versions import RoomVersion

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")

INFINITE = math.inf
"""The power of creators since room version 12; compares with integers of any size."""

DEFAULT_LEVELS: Mapping[str, int] = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "invite": 0,
    "kick": 50,
    "ban": 50,
    "redact": 50,
}
"""What holds where a power-levels event is silent or missing (`m.room.power_levels`)."""

_CREATOR_LEVEL_WITHOUT_EVENT = 100

# One decimal integer; sign, leading zeroes and white space at either end are allowed. The number of digits is
# bounded by what a double can hold.
_STRING_LEVEL = re.compile(r"[ \t-\r]*([+-]?)0*([0-9]{1,308})[ \t-\r]*")


def creators(create: Event) -> frozenset[str]:
    """Those who made the room: the sender of the create event, since version 12 with `additional_creators`;
    until version 10 who `creator` names."""
    if create.version.privileged_creators:
        additional = create.content.get("additional_creators")
        if type(additional) is list:
            return frozenset((create.sender, *(user for user in additional if type(user) is str)))
    elif create.version.creator_in_content:
        creator = create.content.get("creator")
        return frozenset((creator,)) if type(creator) is str else frozenset()
    return frozenset((create.sender,))


def parse_level(value: object, version: RoomVersion) -> int | None:
    """A power level as rooms of this version write it; `None` for what is no level there.

    Integers always; strings that hold one until v9; floats, cut at the point, until v5.
    """
    if type(value) is int:
        return value
    if version.string_power_levels and type(value) is str:
        match = _STRING_LEVEL.fullmatch(value)
        return int(match[1] + match[2]) if match else None
    if version.float_power_levels and type(value) is float and math.isfinite(value):
        return int(value)
    return None


class PowerLevels:
    """The power levels of a room at one moment.

    `create` is `None` only where the state lacks it, `event` where the room has no power levels yet. What is
    malformed in an accepted event (possible until v9, whose rules check `users` only) counts as not given.
    """

    __slots__ = ("_content", "_create", "_version")

    def __init__(self, create: Event | None, event: Event | None, version: RoomVersion) -> None:
        self._create = create
        self._content: Mapping[str, Any] | None = None if event is None else event.content
        self._version = version

    @classmethod
    def of(cls, state: Mapping[StateKey, Event], version: RoomVersion) -> PowerLevels:
        """The levels that a state gives."""
        return cls(state.get(CREATE), state.get(POWER_LEVELS), version)

    def level_of(self, user_id: str) -> float:
        """The level of a user: an integer, or `INFINITE` for a creator since version 12."""
        create = self._create
        if (
            self._version.privileged_creators
            and create is not None
            and (user_id == create.sender or user_id in creators(create))
        ):
            return INFINITE
        content = self._content
        if content is None:
            if create is not None and not self._version.privileged_creators and user_id in creators(create):
                return _CREATOR_LEVEL_WITHOUT_EVENT
            return DEFAULT_LEVELS["users_default"]
        level = self._entry("users", user_id)
        return self._named("users_default") if level is None else level

    def needed_for_event(self, event_type: str, *, is_state: bool) -> int:
        """The required power level of an event type (server-server API, "Definitions")."""
        level = self._entry("events", event_type)
        if level is not None:
            return level
        return self._named("state_default" if is_state else "events_default")

    @property
    def invite(self) -> int:
        return self._named("invite")

    @property
    def kick(self) -> int:
        return self._named("kick")

    @property
    def ban(self) -> int:
        return self._named("ban")

    @property
    def redact(self) -> int:
        return self._named("redact")

    def _named(self, name: str) -> int:
        level = None if self._content is None else parse_level(self._content.get(name), self._version)
        return DEFAULT_LEVELS[name] if level is None else level

    def _entry(self, group: str, key: str) -> int | None:
        entries = None if self._content is None else self._content.get(group)
        return parse_level(entries.get(key), self._version) if type(entries) is dict else None
