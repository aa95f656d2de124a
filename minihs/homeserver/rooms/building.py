"""Building events of our own: what a room's memory and a draft make of one another, and what the rules say.

Nothing is stored here. What the auth rules read is brought into memory first; after that, building takes no
turn of the reactor, so that an event follows from exactly the memory that it was judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from minihs.events.build import EventTooLarge, build_event
from minihs.events.canonical import NotCanonical
from minihs.events.event import Event, InvalidEvent, StateKey
from minihs.events.ids import EventID, RoomID
from minihs.events.limits import MAX_PREV_EVENTS
from minihs.events.signatures import Signer
from minihs.events.versions import RoomVersion
from minihs.homeserver.errors import BadContent, Forbidden, TooLarge, Unavailable
from minihs.homeserver.rooms.drafts import EventDraft, needed_keys
from minihs.homeserver.rooms.memory import RoomMemory
from minihs.homeserver.rooms.states import IncompleteHistory, RoomStates
from minihs.platform.clock import Clock
from minihs.rooms.auth import Allowed, Refused
from minihs.rooms.judge import Judge
from minihs.rooms.power import CREATE

MAX_DEPTH = (1 << 53) - 1
"""Highest `depth`: the largest integer of canonical JSON (room versions, event format)."""


class Judged(msgspec.Struct, frozen=True):
    """An event of our own as it was built, the state that the auth rules were shown, and what they say."""

    event: Event
    state: Mapping[StateKey, Event]
    verdict: Allowed | Refused

    def allowed(self) -> Event:
        """The event; Forbidden with the rule's number when it may not be made."""
        verdict = self.verdict
        if isinstance(verdict, Refused):
            raise Forbidden(f"{verdict.reason} (auth rule {verdict.rule})", verdict.rule)
        return self.event


class EventBuilding:
    """Makes events out of drafts. Errors of its methods are those of `Rooms`."""

    def __init__(self, *, signer: Signer, clock: Clock, states: RoomStates, judge: Judge) -> None:
        self._signer = signer
        self._clock = clock
        self._states = states
        self._judge = judge

    async def load_auth_events(self, room: RoomMemory, drafts: Sequence[EventDraft]) -> None:
        """Bring what the auth rules will read into the room's memory; again, if the state moved meanwhile."""
        while True:
            absent = [
                event_id
                for draft in drafts
                for key in needed_keys(draft, room.version)
                if (event_id := room.state.get(key)) is not None and room.auth_events.get(event_id) is None
            ]
            if not absent:
                return
            found = await self._states.events(absent)
            if len(found) < len(set(absent)):
                raise IncompleteHistory([event_id for event_id in absent if event_id not in found])
            room.remember(found.values())

    def create_event(self, version: RoomVersion, draft: EventDraft) -> Event:
        """The first event of a room; not judged, because whether there is such a room already comes first."""
        room_id = draft.room_id or None  # since version 12 the event makes the ID
        return self._build(version, draft, room_id=room_id, prev_events=(), depth=1, state={})

    def judge(self, event: Event, state: Mapping[StateKey, Event], *, was_future: bool = False) -> Judged:
        """What the rules say of an event on this state."""
        return Judged(event, state, self._judge.own(event, state, was_future=was_future))

    def judged(self, room: RoomMemory, draft: EventDraft) -> Judged:
        """The draft as the room's next event, and what the rules say of it. `load_auth_events` before."""
        state: dict[StateKey, Event] = {}
        for key in needed_keys(draft, room.version):
            event_id = room.state.get(key)
            if event_id is not None:
                event = room.auth_events.get(event_id)
                if event is None:  # evicted while a very large batch was being built
                    raise Unavailable("The room is busy. Please try again.")
                state[key] = event
        event = self._build(
            room.version,
            draft,
            room_id=room.room_id,
            # The latest branches, our own last event among them; the others stay for the next event.
            prev_events=room.extremities[:MAX_PREV_EVENTS],
            depth=min(room.depth + 1, MAX_DEPTH),
            state=state,
        )
        return self.judge(event, state, was_future=draft.was_future)

    def _build(
        self,
        version: RoomVersion,
        draft: EventDraft,
        *,
        room_id: RoomID | None,
        prev_events: tuple[EventID, ...],
        depth: int,
        state: Mapping[StateKey, Event],
    ) -> Event:
        try:
            return build_event(
                version=version,
                signer=self._signer,
                room_id=room_id,
                type=draft.type,
                sender=draft.sender,
                content=draft.content,
                state_key=draft.state_key,
                origin_server_ts=self._clock.wall_ms()
                if draft.origin_server_ts is None
                else draft.origin_server_ts,
                depth=depth,
                prev_events=prev_events,
                auth_events=tuple(
                    event.event_id
                    for key, event in state.items()
                    if key != CREATE or version.create_in_auth_events
                ),
                redacts=draft.redacts,
                sticky_duration_ms=draft.sticky_duration_ms,
                fields=draft.fields,
            )
        except EventTooLarge as error:
            raise TooLarge(str(error)) from error
        except (InvalidEvent, NotCanonical) as error:
            raise BadContent(str(error)) from error
