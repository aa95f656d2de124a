"""The reply to send_join, verified: nothing of another server's account of a room is taken on trust.

Every event's signature and hash, the auth rules over the whole auth chain and state, the room's create event
and version, and our own join against that state. Source: Server-Server API, "Joining Rooms".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.federation.admission import Admission, Dropped
from minihs.federation.outliers import Outliers
from minihs.federation.remote_rooms import JoinReply
from minihs.platform.clock import Clock, sleep
from minihs.rooms.auth import needed_state
from minihs.rooms.outliers import cited_events
from minihs.rooms.power import CREATE
from minihs.rooms.receipt import Reject, SoftFail, check_rights
from minihs.rooms.state_map import StateMap

PAUSE_FROM = 2_000  # events: what is done with all of them takes some milliseconds each time


class BadJoinReply(Exception):
    """The reply cannot be true; the message says what is wrong with it."""


class VerifiedJoin(msgspec.Struct, frozen=True):
    """A room as it may be entered: our event, the state before it, and all events that these rest on."""

    event: Event
    state_before: StateMap
    outliers: tuple[Event, ...]


async def verify_join_reply(
    reply: JoinReply, event: Event, *, clock: Clock, admission: Admission, outliers: Outliers
) -> VerifiedJoin:
    """Check the reply to our join `event`; raises BadJoinReply.

    Events in it that are not genuine, or that the auth rules refuse, are left out, as they would be had they
    come one by one; the room's create event must be good.
    """
    if reply.members_omitted:
        raise BadJoinReply("The members were left out of the state, though all of it was asked for.")
    joined = await _as_sent(reply, event, admission)
    admitted = await admission.admit_all([*reply.auth_chain, *reply.state], event.version, event.room_id)
    known = await outliers.known(admitted.events)
    judged = await outliers.judge([one for one in admitted.events.values() if one.event_id not in known])
    # What we once rejected stays rejected, whatever others made of it.
    allowed = {event_id: row.event for event_id, row in known.items() if not row.standing.is_rejected}
    allowed.update((one.event_id, one) for one in judged.allowed)
    if len(allowed) > PAUSE_FROM:
        await sleep(clock, 0)
    state = _state(admitted.ids[len(reply.auth_chain) :], allowed)
    if len(allowed) > PAUSE_FROM:
        await sleep(clock, 0)
    _check_create(event, allowed, state)
    missing = [event_id for event_id in event.auth_events if event_id not in allowed]
    if missing:
        raise BadJoinReply(f"The auth event {missing[0]} of our join is not among the good ones.")
    verdict = check_rights(
        joined,
        cited_events(joined, allowed, frozenset()),
        {key: allowed[state[key]] for key in _needed(joined) if key in state},
        None,
    )
    if isinstance(verdict, Reject | SoftFail):
        raise BadJoinReply(f"By the state in the reply our join is not allowed: {verdict.reason}.")
    return VerifiedJoin(joined, state, tuple(allowed.values()))


async def _as_sent(reply: JoinReply, event: Event, admission: Admission) -> Event:
    """Our join as the resident server sent it to the others, perhaps with its signature."""
    if reply.event is None:
        joined = event
    else:
        try:
            joined = admission.parse(reply.event, event.version, event.room_id)
        except Dropped as dropped:
            raise BadJoinReply(f"Our join came back damaged: {dropped}") from dropped
        if joined.event_id != event.event_id:
            raise BadJoinReply("Our join came back as another event.")
    try:
        genuine = await admission.verify(joined)
    except Dropped as dropped:
        raise BadJoinReply(f"Our join lacks a good signature: {dropped}") from dropped
    if genuine is not joined:
        raise BadJoinReply("Our join came back with other content.")
    return joined


def _needed(event: Event) -> tuple[StateKey, ...]:
    return (CREATE, *needed_state(event.type, event.sender, event.state_key, event.content, event.version))


def _state(event_ids: Sequence[EventID | None], allowed: Mapping[EventID, Event]) -> StateMap:
    state: dict[StateKey, EventID] = {}
    for event_id in event_ids:
        entry = None if event_id is None else allowed.get(event_id)
        if entry is None:
            continue
        if not entry.is_state:
            raise BadJoinReply(f"The state in the reply holds {entry.event_id}, which is no state event.")
        if state.setdefault(entry.key, entry.event_id) != entry.event_id:
            raise BadJoinReply(f"The state in the reply holds two events for {entry.key}.")
    return StateMap.of(state)


def _check_create(event: Event, allowed: Mapping[EventID, Event], state: StateMap) -> None:
    create_id = state.get(CREATE)
    if create_id is None:
        raise BadJoinReply("The state in the reply lacks a good create event.")
    # A create event without a version is of version 1 (client-server API, "m.room.create").
    if allowed[create_id].content.get("room_version", "1") != event.version.id:
        raise BadJoinReply("The room's create event has another version than the template was for.")
    creates = [one.event_id for one in allowed.values() if one.type == "m.room.create"]
    if creates != [create_id]:
        raise BadJoinReply("The reply holds more than one create event.")
