"""History from before our time: fetched from servers in the room when a client reads past what we have.

Source: Server-Server API, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.federation.admission import Admission
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.gaps import GAP_MS, Gaps
from minihs.federation.inbound import InboundEvents
from minihs.federation.receiver import CannotDecide
from minihs.federation.remote_rooms import RemoteRooms
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock
from minihs.rooms.dag import topological_order
from minihs.rooms.state_map import StateMap
from minihs.store.history import HistoryStore

log = Logger()

EVENTS_PER_FETCH = 100
MAX_SERVERS = 4  # asked in turn
MAX_EDGES = 20  # event IDs named in one question
MAX_STATES_FETCHED = 3  # for one fetch: each may be the whole state of a room


class Backfill:
    """Fetches what lies before the oldest events that we have of a room."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        clock: Clock,
        rooms: Rooms,
        history: HistoryStore,
        remote: RemoteRooms,
        admission: Admission,
        inbound: InboundEvents,
        gaps: Gaps,
    ) -> None:
        self._server_name = server_name
        self._clock = clock
        self._rooms = rooms
        self._history = history
        self._remote = remote
        self._admission = admission
        self._inbound = inbound
        self._gaps = gaps
        self._under_way: dict[RoomID, list[Deferred[bool]]] = {}

    async def before(self, room_id: RoomID) -> bool:
        """Fetch some more history of the room; whether there is more now than before.

        Durable when this returns. Never raises for what other servers do. A fetch that is under way for the
        room is waited for instead of starting another.
        """
        waiting = self._under_way.get(room_id)
        if waiting is not None:
            same: Deferred[bool] = Deferred()
            waiting.append(same)
            return await same
        self._under_way[room_id] = []
        found = False
        try:
            found = await self._fetch(room_id)
        finally:
            for same in self._under_way.pop(room_id):
                same.callback(found)
        return found

    async def _fetch(self, room_id: RoomID) -> bool:
        edges = await self._history.all_edges(room_id, MAX_EDGES)
        if not edges:
            return False
        servers = [name for name in await self._rooms.joined_servers(room_id) if name != self._server_name]
        for server in servers[:MAX_SERVERS]:
            try:
                pdus = await self._remote.backfill(
                    server, room_id, [edge.missing for edge in edges], EVENTS_PER_FETCH
                )
            except (RemoteRefusal, Unreachable) as problem:
                log.info("no history of {room_id}: {problem}", room_id=room_id, problem=problem)
                continue
            if await self._keep(server, room_id, pdus):
                return True
        return False

    async def _keep(self, server: ServerName, room_id: RoomID, pdus: list[dict[str, object]]) -> bool:
        version = await self._rooms.version_of(room_id)
        admitted = await self._admission.admit_all(pdus, version, room_id)
        known = await self._rooms.rows(admitted.events)
        new = [
            event
            for event_id, event in admitted.events.items()
            if event_id not in known or known[event_id].standing.is_outlier
        ]
        states: dict[EventID, StateMap] = {}
        kept: list[tuple[Event, StateMap]] = []
        fetches_left = MAX_STATES_FETCHED
        for event in topological_order(new):
            try:
                state = await self._state_before(event, states)
                if state is None and fetches_left:
                    fetches_left -= 1
                    give_up_ms = self._clock.monotonic_ms() + GAP_MS
                    told = await self._gaps.told_states(server, (event,), give_up_ms)
                    state, _ = await self._gaps.state_before(event, {**states, **told})
                if state is None or await self._inbound.refusal_as_history(server, event, state) is not None:
                    continue
            except CannotDecide as problem:
                log.info("{event_id} left out: {problem}", event_id=event.event_id, problem=problem)
                continue
            kept.append((event, state))
            states[event.event_id] = state.set(event.key, event.event_id) if event.is_state else state
        if kept:
            await self._rooms.store_history(kept[::-1])
        return bool(kept)

    async def _state_before(self, event: Event, states: dict[EventID, StateMap]) -> StateMap | None:
        """The state before an event, from events stored or just fetched; None when one is missing."""
        if not event.prev_events and event.type == "m.room.create":
            return StateMap()
        forks: list[StateMap] = []
        for prev_id in event.prev_events:
            state = states.get(prev_id) or await self._rooms.state_after(prev_id)
            if state is None:
                return None
            forks.append(state)
        if not forks:
            return None
        return forks[0] if len(forks) == 1 else await self._rooms.resolve(event.version, forks)
