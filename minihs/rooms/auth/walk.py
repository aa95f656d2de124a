"""The auth rules from the top: one step for each numbered group of the list in "Room Version 12".

Two halves, because they look at different things: `check_auth_events` (rule 3) at the events that an event
cites, `authorise` (all others) at a state. Answers to "Authorisation rules" in the room versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, server_name_of
from minihs.events.versions import RoomVersion
from minihs.rooms.auth.create import authorise_create, may_federate
from minihs.rooms.auth.member import authorise_member
from minihs.rooms.auth.needed import needed_state
from minihs.rooms.auth.power_levels import authorise_power_levels
from minihs.rooms.auth.verdict import Allowed, Refused
from minihs.rooms.power import CREATE, POWER_LEVELS, PowerLevels

_ALLOWED = Allowed("v12 11")


def authorise(event: Event, state: Mapping[StateKey, Event], version: RoomVersion) -> Allowed | Refused:
    """Whether an event may follow on a state.

    `state` needs to hold only what `needed_state` names, and the create event in every version; it holds
    accepted events only. Signatures are verified on receipt (`required_signers`), not here.
    """
    if event.type == "m.room.create":
        return authorise_create(event, version)

    create = state.get(CREATE)
    if version.room_id_is_create_hash:
        # v12 2, since v12: the room ID is the hash of an accepted create event
        if create is None or create.event_id[1:] != event.room_id[1:]:
            return Refused("v12 2", "the room ID is not that of an accepted create event")
    elif create is None:
        # v11 2.4, until v11. Here for the state; `check_auth_events` asks the same of the cited events.
        return Refused("v11 2.4", "the room has no create event")

    refused = may_federate(create, event)
    if refused is not None:
        return refused

    # v5 4, until v5
    if version.aliases_are_special and event.type == "m.room.aliases":
        return _authorise_aliases(event)

    if event.type == "m.room.member":
        return authorise_member(event, create, state, version)

    # v12 6, since v1
    membership = state.get(("m.room.member", event.sender))
    if membership is None or membership.content.get("membership") != "join":
        return Refused("v12 6", "the sender is not joined to the room")

    levels = PowerLevels(create, state.get(POWER_LEVELS), version)
    sender_level = levels.level_of(event.sender)

    if event.type == "m.room.third_party_invite":
        # v12 7.1, since v1
        if sender_level >= levels.invite:
            return Allowed("v12 7.1")
        return Refused("v12 7.1", "the sender has too little power to invite")

    # v12 8, since v1
    state_key = event.state_key
    needed = levels.needed_for_event(event.type, is_state=state_key is not None)
    if needed > sender_level:
        return Refused("v12 8", f"the sender has power {sender_level}, events of this type need {needed}")

    # v12 9, since v1
    if state_key is not None and state_key.startswith("@") and state_key != event.sender:
        return Refused("v12 9", "a state key that is a user ID belongs to that user")

    if event.type == "m.room.power_levels":
        return authorise_power_levels(event, create, state.get(POWER_LEVELS), sender_level, version)

    # v12 11, since v1
    return _ALLOWED


def check_auth_events(
    event: Event,
    auth_events: Sequence[Event],
    version: RoomVersion,
    rejected: AbstractSet[EventID] = frozenset(),
) -> Allowed | Refused:
    """Rule 3: whether an event cites the events it should.

    `auth_events` are all those that it cites, in its order; `rejected` names those that were themselves
    rejected. An event that cites what nobody can find is not for this function.
    """
    # v12 1 decides about create events alone.
    if event.type == "m.room.create":
        return Allowed("v12 1.5")
    needed = needed_state(event.type, event.sender, event.state_key, event.content, version)
    seen: set[StateKey] = set()
    for cited in auth_events:
        if not cited.is_state:
            # v12 3.2, since v1: what is no state matches nothing
            return Refused("v12 3.2", f"{cited.event_id} in auth_events is no state event")
        # v12 3.1, since v1
        if cited.key in seen:
            return Refused("v12 3.1", f"auth_events has two entries for {cited.type}")
        seen.add(cited.key)
    for cited in auth_events:
        # v12 3.2, since v1; in v12 the create event is not selected
        if cited.key not in needed:
            return Refused("v12 3.2", f"{cited.type} does not belong in the auth_events of this event")
    for cited in auth_events:
        # v12 3.3, since v1
        if cited.event_id in rejected:
            return Refused("v12 3.3", f"{cited.event_id} in auth_events was rejected")
    # v11 2.4, until v11
    if version.create_in_auth_events and CREATE not in seen:
        return Refused("v11 2.4", "auth_events lacks the create event")
    for cited in auth_events:
        # v12 3.4 (numbered 5 in the source), since v1
        if cited.room_id != event.room_id:
            return Refused("v12 3.4", f"{cited.event_id} in auth_events is of another room")
    return Allowed("v12 3")


def _authorise_aliases(event: Event) -> Allowed | Refused:
    # v5 4.1, until v5
    if event.state_key is None:
        return Refused("v5 4.1", "an aliases event must be a state event")
    # v5 4.2, until v5
    if server_name_of(event.sender) != event.state_key:
        return Refused("v5 4.2", "the state key must be the server of the sender")
    return Allowed("v5 4.3")
