"""Redaction: what of an event is essential and stays when it is redacted.

Signatures and event IDs cover exactly this much. Whether a redaction applies is not decided here.
Answers to "Redactions" in the room versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from minihs.events.versions import ROOM_VERSIONS, RoomVersion


class _Kept(NamedTuple):
    """What one room version protects: keys of the event, and by event type keys of the content."""

    keys: tuple[str, ...]
    content: Mapping[str, tuple[str, ...]]


def _kept(version: RoomVersion) -> _Kept:
    keys = [
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    ]
    member = ["membership"]
    create = ["creator"]
    join_rules = ["join_rule"]
    power_levels = [
        "ban",
        "events",
        "events_default",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    ]
    content = {
        "m.room.member": member,
        "m.room.create": create,
        "m.room.join_rules": join_rules,
        "m.room.power_levels": power_levels,
        "m.room.history_visibility": ["history_visibility"],
    }
    if version.redaction_keeps_old_keys:
        keys += ["prev_state", "origin", "membership"]
    if version.aliases_are_special:
        content["m.room.aliases"] = ["aliases"]
    if version.redaction_keeps_allow:
        join_rules.append("allow")
    if version.redaction_keeps_authorising_user:
        member.append("join_authorised_via_users_server")
    if version.redaction_keeps_invite_level:
        power_levels.append("invite")
    if version.redacts_in_content:
        content["m.room.redaction"] = ["redacts"]
    return _Kept(tuple(keys), {event_type: tuple(names) for event_type, names in content.items()})


_KEPT = {version.id: _kept(version) for version in ROOM_VERSIONS.values()}


def redact(pdu: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """A copy of a PDU with its essential parts only; `pdu` is left alone.

    Parts that stay are shared with `pdu`, so both are to be read only. `content` must be an object.
    "Redactions" of the room version.
    """
    kept = _KEPT[version.id]
    redacted = {key: pdu[key] for key in kept.keys if key in pdu}
    content = pdu["content"]
    event_type = pdu["type"]
    if event_type == "m.room.create" and version.redaction_keeps_whole_create:
        redacted["content"] = content
        return redacted
    names = kept.content.get(event_type)
    if names is None:
        redacted["content"] = {}
        return redacted
    essential = {name: content[name] for name in names if name in content}
    if event_type == "m.room.member" and version.redaction_keeps_third_party_signed:
        invite = content.get("third_party_invite")
        if type(invite) is dict:
            essential["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
    redacted["content"] = essential
    return redacted
