"""Closes gaps in a room's graph: the events before one that came, or else the state at the edge of the gap.

Bounded in the number of events and of questions. Judging what is fetched is `inbound`'s concern.
Source: Server-Server API, "Backfilling and retrieving missing events" and "Retrieving events".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.federation.admission import Admission
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.outliers import MAX_SINGLE_FETCHES, Outliers
from minihs.federation.receiver import CannotDecide, Receiver, unknown_among
from minihs.federation.remote_rooms import RemoteRooms
from minihs.platform.clock import Clock, sleep
from minihs.platform.logs import Logger
from minihs.rooms.dag import leading_to, topological_order
from minihs.rooms.power import CREATE
from minihs.rooms.state_map import StateMap

log = Logger()

EVENTS_PER_QUESTION = (10, 50, 50, 50, 50, 50)
"""What each question asks for: most gaps are short, and whoever is asked fills the answer with older events
when it does not know where we stand."""
MAX_EVENTS = 250
MAX_EARLIEST = 50  # events named as known, the newest
MAX_STATES = 5  # fetched for one event
READ_AT_ONCE = 1_000  # events of a state that is told, at 10 µs each
GAP_MS = 90_000  # after which no more questions are asked about one event


class Bridge(msgspec.Struct, frozen=True):
    """What was fetched to close the gap before an event.

    `earlier` are genuine events, oldest first, that are not judged yet. `told` has the state after events
    that stay unknown, as the other server tells it.
    """

    earlier: tuple[Event, ...] = ()
    told: Mapping[EventID, StateMap] = msgspec.field(default_factory=dict)


class Gaps:
    """Asks the server that sent an event for what lies before it."""

    def __init__(
        self,
        *,
        clock: Clock,
        remote: RemoteRooms,
        admission: Admission,
        outliers: Outliers,
        receiver: Receiver,
    ) -> None:
        self._clock = clock
        self._remote = remote
        self._admission = admission
        self._outliers = outliers
        self._receiver = receiver

    async def bridge(self, origin: ServerName, event: Event) -> Bridge:
        """Fetch what is needed to judge `event`, as far as it can be had; nothing is judged or placed."""
        give_up_ms = self._clock.monotonic_ms() + GAP_MS
        earlier = await self.events_before(origin, event, give_up_ms)
        told = await self.told_states(origin, [*earlier, event], give_up_ms)
        return Bridge(tuple(earlier), told)

    async def state_before(self, event: Event, told: Mapping[EventID, StateMap]) -> tuple[StateMap, bool]:
        """The state before `event`, and whether something in `told` had to be believed for it.

        Raises CannotDecide when a branch is known neither here nor from there.
        """
        if not event.prev_events:
            return StateMap(), False
        state = await self._receiver.state_of_prevs(event.room_id, event.prev_events)
        if state is not None:
            return state, False
        forks: list[StateMap] = []
        for prev_id in event.prev_events:
            fork = await self._receiver.state_of_prevs(event.room_id, (prev_id,))
            if fork is None:
                fork = told.get(prev_id)
            if fork is None:
                raise CannotDecide(f"What lies before {event.event_id} could not be fetched.")
            forks.append(fork)
        return forks[0] if len(forks) == 1 else await self._receiver.resolve(event.version, forks), True

    async def events_before(self, origin: ServerName, event: Event, give_up_ms: float) -> list[Event]:
        """Genuine events between what we have and `event`, oldest first; [] when there are none to be had.

        They may not reach back to what we have: then there is still a gap before the oldest.
        """
        room_id, version = event.room_id, event.version
        earliest = await self._newest_known(room_id)
        min_depth = await self._receiver.lowest_depth(room_id)
        found: dict[EventID, Event] = {}
        edge: list[Event] = [event]
        for limit in EVENTS_PER_QUESTION:
            unknown = await self._unknown_prevs(edge, found)
            if not unknown or len(found) >= MAX_EVENTS or self._clock.monotonic_ms() > give_up_ms:
                break
            latest = [at_edge.event_id for at_edge in edge if not unknown.isdisjoint(at_edge.prev_events)]
            try:
                pdus = await self._remote.missing_events(
                    origin,
                    room_id,
                    earliest=earliest,
                    latest=latest,
                    limit=limit,
                    min_depth=min_depth,
                )
            except (RemoteRefusal, Unreachable) as problem:
                log.info("no events before {event_id}: {problem}", event_id=event.event_id, problem=problem)
                break
            admitted = await self._admission.admit_all(pdus, version, room_id)
            new = [one for event_id, one in admitted.events.items() if event_id not in found]
            if not new:
                break
            found.update((one.event_id, one) for one in new)
            edge = new
        found.pop(event.event_id, None)
        # Nobody may slip us anything else.
        return topological_order(leading_to(event.prev_events, found).values())

    async def _newest_known(self, room_id: RoomID) -> list[EventID]:
        """The forward extremities and what lies before them, as far as a question may name it.

        The extremities alone would not do: what our users have said meanwhile need not have arrived there.
        """
        layer = list(await self._receiver.extremities(room_id))
        known = dict.fromkeys(layer)
        while layer and len(known) < MAX_EARLIEST:
            rows = await self._receiver.rows(layer)
            prevs = dict.fromkeys(prev_id for row in rows.values() for prev_id in row.event.prev_events)
            layer = [prev_id for prev_id in prevs if prev_id not in known]
            known.update(dict.fromkeys(layer))
        return list(known)[:MAX_EARLIEST]

    async def told_states(
        self, origin: ServerName, events: Sequence[Event], give_up_ms: float
    ) -> dict[EventID, StateMap]:
        """The state after each event that some of `events` follow and that is neither among them nor here.

        At most MAX_STATES of them, as each may be the whole state of a room; what cannot be had is left out.
        """
        here = {event.event_id: event for event in events}
        told: dict[EventID, StateMap] = {}
        for event in events:
            for prev_id in sorted(await self._unknown_prevs((event,), here)):
                if prev_id in told or len(told) >= MAX_STATES or self._clock.monotonic_ms() > give_up_ms:
                    continue
                try:
                    told[prev_id] = await self._state_after(origin, event, prev_id)
                except CannotDecide as problem:
                    log.info("{problem}", problem=problem)
        return told

    async def _state_after(self, origin: ServerName, event: Event, prev_id: EventID) -> StateMap:
        room_id, version = event.room_id, event.version
        try:
            answer = await self._remote.state_ids(origin, room_id, prev_id)
            wanted = list(dict.fromkeys((*answer.auth_chain_ids, *answer.pdu_ids)))
            known = await self._state_keys(room_id, wanted)
            absent = [event_id for event_id in wanted if event_id not in known]
            if len(absent) > MAX_SINGLE_FETCHES:
                whole = await self._remote.state(origin, room_id, prev_id)
                pdus = [*whole.auth_chain, *whole.pdus]
                await self._outliers.learn(room_id, version, pdus, leading_to=answer.pdu_ids)
            elif absent:
                await self._outliers.fetch(origin, room_id, version, absent)
        except (RemoteRefusal, Unreachable) as problem:
            raise CannotDecide(
                f"The state before {event.event_id} could not be fetched: {problem}"
            ) from problem
        state = await self._state_of(room_id, event, answer.pdu_ids)
        if not await self._receiver.rows([prev_id]):
            await self._outliers.fetch(origin, room_id, version, [prev_id])
        row = (await self._receiver.rows([prev_id])).get(prev_id)
        if row is not None and row.event.is_state and not row.standing.is_rejected:
            state = state.set(row.event.key, prev_id)
        return state

    async def _state_of(self, room_id: RoomID, event: Event, event_ids: Sequence[EventID]) -> StateMap:
        """The state that these events make; what is refused, unknown or out of place is left out."""
        keys = await self._state_keys(room_id, event_ids)
        state = StateMap.of((key, event_id) for event_id, key in keys.items() if key is not None)
        create_id = state.get(CREATE)
        if create_id is None:
            raise CannotDecide(f"The state before {event.event_id}, as it was told, lacks the create event.")
        if create_id != (await self._receiver.newest_state(room_id)).get(CREATE):
            raise CannotDecide(f"The state before {event.event_id}, as it was told, is that of another room.")
        return state

    async def _state_keys(
        self, room_id: RoomID, event_ids: Sequence[EventID]
    ) -> dict[EventID, StateKey | None]:
        """Of those events that are known, what each may stand for in a state of the room; None for nothing.

        Others get their turn while many are read, and none is kept: an answer may name all of a large room.
        """
        found: dict[EventID, StateKey | None] = {}
        for start in range(0, len(event_ids), READ_AT_ONCE):
            if start:
                await sleep(self._clock, 0)
            for event_id, row in (await self._receiver.rows(event_ids[start : start + READ_AT_ONCE])).items():
                event = row.event
                fits = event.is_state and event.room_id == room_id and not row.standing.is_rejected
                found[event_id] = event.key if fits else None
        return found

    async def _unknown_prevs(self, edge: Sequence[Event], found: Mapping[EventID, Event]) -> set[EventID]:
        prevs = [prev_id for at_edge in edge for prev_id in at_edge.prev_events if prev_id not in found]
        return set(await unknown_among(self._receiver, prevs, or_outlier=True))
