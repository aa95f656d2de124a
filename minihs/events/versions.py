"""Room versions as rows of named flags; code asks for a flag, never for a number.

Each row is made from the one before, so a row shows what its version changed. Answers to the pages
"Room Version 3" to "Room Version 12" of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec.structs import replace


class UnsupportedRoomVersion(ValueError):
    """A room version that this server does not take part in."""


class RoomVersion(msgspec.Struct, frozen=True, kw_only=True):
    """How rooms of one version differ from those of others. The value given here is that of version 3."""

    id: str

    url_safe_event_ids: bool = False
    """Event IDs are the reference hash in the URL-safe alphabet. Since v4, "Event IDs"."""

    enforce_key_validity: bool = False
    """A signature counts only while its key was valid. Since v5, "Signing key validity period"."""

    strict_canonical_json: bool = False
    """Floats and integers beyond ±(2^53 - 1) are refused. Since v6, "Canonical JSON" and "Event format"."""

    aliases_are_special: bool = True
    """`m.room.aliases` has an auth rule of its own and survives redaction.
    Until v5, "Authorisation rules" 4 and "Redactions"."""

    float_power_levels: bool = True
    """Power levels may be floats, cut at the point. Until v5, "Deprecated event content schemas"."""

    notifications_need_power: bool = False
    """The power-level rules cover `notifications` too. Since v6, "Authorisation rules" 9.4 and 9.5."""

    knocking: bool = False
    """Membership and join rule `knock`. Since v7, "Authorisation rules" 4.2.4, 4.4.1 and 4.6."""

    restricted_joins: bool = False
    """Join rule `restricted`. Since v8, "Authorisation rules" 4.2 and 4.3.5."""

    redaction_keeps_allow: bool = False
    """`m.room.join_rules` keeps `allow`. Since v8, "Redactions"."""

    redaction_keeps_authorising_user: bool = False
    """`m.room.member` keeps `join_authorised_via_users_server`. Since v9, "Redactions"."""

    string_power_levels: bool = True
    """Power levels may be strings that hold an integer; from v10 on they are integers or the event is
    refused. Until v9, "Deprecated event content schemas"; since v10, "Authorisation rules" 9.1 to 9.3."""

    knock_restricted: bool = False
    """Join rule `knock_restricted`. Since v10, "Authorisation rules" 4.3.5 and 4.7.1."""

    creator_in_content: bool = True
    """`m.room.create` names its `creator`. Until v10, "Authorisation rules" 1.4 (removed in v11)."""

    redacts_in_content: bool = False
    """`redacts` stands in the content, and survives redaction there. Since v11, "Event format"."""

    redaction_keeps_old_keys: bool = True
    """Top-level `origin`, `membership` and `prev_state` survive redaction. Until v10, "Redactions"."""

    redaction_keeps_whole_create: bool = False
    """`m.room.create` keeps all of its content. Since v11, "Redactions"."""

    redaction_keeps_invite_level: bool = False
    """`m.room.power_levels` keeps `invite`. Since v11, "Redactions"."""

    redaction_keeps_third_party_signed: bool = False
    """`m.room.member` keeps `signed` of its `third_party_invite`. Since v11, "Redactions"."""

    room_id_is_create_hash: bool = False
    """The create event has no `room_id`; its event ID with `!` is the room ID.
    Since v12, "Authorisation rules" 1.2 and 2."""

    create_in_auth_events: bool = True
    """Events cite the create event. Until v11; since v12 the room ID implies it, "Authorisation rules" 3.2.
    """

    privileged_creators: bool = False
    """Creators (sender and `additional_creators`) have infinite power.
    Since v12, "Authorisation rules" 1.4 and 10.4."""

    state_resolution_2_1: bool = False
    """Resolution starts from an empty state and adds the conflicted state subgraph.
    Since v12, "State resolution"."""


_V3 = RoomVersion(id="3")
_V4 = replace(_V3, id="4", url_safe_event_ids=True)
_V5 = replace(_V4, id="5", enforce_key_validity=True)
_V6 = replace(
    _V5,
    id="6",
    strict_canonical_json=True,
    aliases_are_special=False,
    float_power_levels=False,
    notifications_need_power=True,
)
_V7 = replace(_V6, id="7", knocking=True)
_V8 = replace(_V7, id="8", restricted_joins=True, redaction_keeps_allow=True)
_V9 = replace(_V8, id="9", redaction_keeps_authorising_user=True)
_V10 = replace(_V9, id="10", string_power_levels=False, knock_restricted=True)
_V11 = replace(
    _V10,
    id="11",
    creator_in_content=False,
    redacts_in_content=True,
    redaction_keeps_old_keys=False,
    redaction_keeps_whole_create=True,
    redaction_keeps_invite_level=True,
    redaction_keeps_third_party_signed=True,
)
_V12 = replace(
    _V11,
    id="12",
    room_id_is_create_hash=True,
    create_in_auth_events=False,
    privileged_creators=True,
    state_resolution_2_1=True,
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {version.id: version for version in (_V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)}
)
"""Every version whose rules are written down here, by its identifier."""

SUPPORTED: Mapping[str, RoomVersion] = ROOM_VERSIONS
"""The versions of rooms that this server makes and joins: all of the above."""

WITHOUT_HASHED_IDS = ("1", "2")
"""The versions that this server stays out of: a sender chooses the IDs of events there, so that one ID can
mean different events to different servers ("Room Version 3", "Event IDs")."""

DEFAULT_VERSION = _V12.id
"""What new rooms get ("Room Versions", "Complete list of room versions")."""


def supported(version_id: object) -> RoomVersion:
    """The row of a version that this server takes part in; raises `UnsupportedRoomVersion` for all others."""
    version = SUPPORTED.get(version_id) if isinstance(version_id, str) else None
    if version is None:
        raise UnsupportedRoomVersion(why_unsupported(version_id))
    return version


def why_unsupported(version_id: object) -> str:
    """A sentence or two about a version that is not in `SUPPORTED`, for the person who asked for it."""
    known = f"This server takes part in rooms of the versions {', '.join(SUPPORTED)}."
    if version_id not in WITHOUT_HASHED_IDS:
        return known
    return (
        f"Rooms of version {version_id} are refused, because senders choose the IDs of their events there. "
        f"{known}"
    )
