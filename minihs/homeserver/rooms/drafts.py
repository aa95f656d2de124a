"""Drafts: what an event of our own is to say, before it has a place in its room."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.events.versions import RoomVersion
from minihs.platform.entropy import Entropy, token_letters
from minihs.rooms.auth import needed_state
from minihs.rooms.power import CREATE

__all__ = ["CREATE", "EventDraft", "needed_keys", "own_room_id"]


class Reach(Enum):
    """How far an event of our own gets. All but the first are for experiments with other proposals."""

    ROOM = "room"
    """Everybody in the room, on every server."""
    WITHHELD = "withheld"
    """Nobody, until it is released; what is sent later follows it in the graph (MSC3277)."""
    EARLY = "early"
    """Every server in the room, but none of its users until it is released there; what is sent later follows
    it in the graph (what MSC3277 decides against)."""
    ASIDE = "aside"
    """Nobody, until it is released; nothing follows it, as nothing follows what was soft-failed."""
    HERE = "here"
    """Users of this server alone, and no graph (the synthetic redactions of MSC2228)."""
    READER = "reader"
    """The same for one user, as a `Sight` says: as a redaction it takes the content from nobody else."""


class EventDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be built, authorised and signed by `Rooms`.

    `device_id` and `txn_id` name the request it came with, `delay_id` the future it was: its sender sees them
    in `unsigned`. `origin_server_ts` is the time of building when left out. `sticky_duration_ms`: MSC4354.
    `was_future` is for a judge to whom that makes a difference. `fields` stand beside the content.
    """

    room_id: RoomID
    sender: UserID
    type: str
    content: Mapping[str, Any]
    state_key: str | None = None
    redacts: EventID | None = None
    origin_server_ts: int | None = None
    device_id: str | None = None
    txn_id: str | None = None
    delay_id: str | None = None
    sticky_duration_ms: int | None = None
    was_future: bool = False
    reach: Reach = Reach.ROOM
    fields: Mapping[str, Any] | None = None


def needed_keys(draft: EventDraft, version: RoomVersion) -> tuple[StateKey, ...]:
    """The state that building and authorising `draft` reads; the create event is always among it."""
    keys = needed_state(draft.type, draft.sender, draft.state_key, draft.content, version)
    return keys if CREATE in keys else (CREATE, *keys)


def own_room_id(version: RoomVersion, server_name: ServerName, entropy: Entropy) -> RoomID | None:
    """The ID for a new room of ours; None where the version takes it from the create event."""
    if version.room_id_is_create_hash:
        return None
    return RoomID(f"!{token_letters(entropy, 18, _ROOM_LETTERS)}:{server_name}")


_ROOM_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
