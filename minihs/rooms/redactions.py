"""Whether a redaction takes the content from its target: by its sender's server, or by power.

Pure; when it is asked, and what is then done to the target, is the homeserver's concern. Source: room
version 3, "Handling redactions".
"""

from __future__ import annotations

from collections.abc import Mapping

from minihs.events.event import Event, StateKey
from minihs.events.ids import UserID, server_name_of
from minihs.events.versions import RoomVersion
from minihs.rooms.power import CREATE, POWER_LEVELS, PowerLevels

DECIDING_STATE = (CREATE, POWER_LEVELS)
"""What of the state before a redaction decides where the servers differ."""


def by_own_server(sender: UserID, target: Event) -> bool:
    """Condition 2, which needs no state: the target is by a user of the same server."""
    return server_name_of(sender) == server_name_of(target.sender)


def by_power(sender: UserID, state: Mapping[StateKey, Event], version: RoomVersion) -> bool:
    """Condition 1: the sender had the power to redact. `state` holds `DECIDING_STATE` as far as it is set."""
    if CREATE not in state:
        return False
    power = PowerLevels.of(state, version)
    return power.level_of(sender) >= power.redact
