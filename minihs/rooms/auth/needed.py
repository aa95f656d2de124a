"""Which state decides about an event: the selection of auth events.

Whether that state lets the event pass is for `walk`. Answers to "Auth events selection" in the server-server
API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.events.event import StateKey
from minihs.events.ids import UserID
from minihs.events.versions import RoomVersion
from minihs.rooms.power import CREATE, POWER_LEVELS

JOIN_RULES: StateKey = ("m.room.join_rules", "")


def needed_state(
    type: str,  # noqa: A002 - the field's name
    sender: UserID,
    state_key: str | None,
    content: Mapping[str, Any],
    version: RoomVersion,
) -> tuple[StateKey, ...]:
    """The keys of the state that an event must cite and is judged by, sorted.

    The create event is among them until version 11; from version 12 on the room ID implies it, and
    `authorise` wants it all the same. `content` may have any shape inside.
    """
    if type == "m.room.create":
        return ()
    sender_membership = ("m.room.member", sender)
    if type != "m.room.member":
        if version.create_in_auth_events:
            return (CREATE, sender_membership, POWER_LEVELS)
        return (sender_membership, POWER_LEVELS)

    needed = {sender_membership, POWER_LEVELS}
    if version.create_in_auth_events:
        needed.add(CREATE)
    if state_key is not None:
        needed.add(("m.room.member", state_key))
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        needed.add(JOIN_RULES)
    if membership == "invite":
        token = _third_party_token(content)
        if token is not None:
            needed.add(("m.room.third_party_invite", token))
    if membership == "join" and version.restricted_joins:
        authorising = content.get("join_authorised_via_users_server")
        if isinstance(authorising, str):
            needed.add(("m.room.member", authorising))
    return tuple(sorted(needed))


def _third_party_token(content: Mapping[str, Any]) -> str | None:
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None
