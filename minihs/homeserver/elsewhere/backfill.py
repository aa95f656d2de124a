"""History from before our time: fetched from servers in the room when a client reads past what we have.

Source: Server-Server API, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred

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
from minihs.platform.logs import Logger
from minihs.rooms.dag import leading_to, topological_order
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
            if await self._keep(server, room_id, pdus, [edge.missing for edge in edges]):
                return True
        return False

    async def _keep(
        self,
        server: ServerName,
        room_id: RoomID,
        pdus: list[dict[str, object]],
        missing: Sequence[EventID],
    ) -> bool:
        version = await self._rooms.version_of(room_id)
        admitted = await self._admission.admit_all(pdus, version, room_id)
        asked_for = leading_to(missing, admitted.events)
        known = await self._rooms.rows(asked_for)
        new = [
            event
            for event_id, event in asked_for.items()
            if event_id not in known or known[event_id].standing.is_outlier
        ]
        states: dict[EventID, StateMap] = {}
        kept: list[tuple[Event, StateMap]] = []
        fetches_left = MAX_STATES_FETCHED
        for event in topological_order(new):
            try:
                if fetches_left and await self._is_after_a_gap(event, states):
                    fetches_left -= 1
                    give_up_ms = self._clock.monotonic_ms() + GAP_MS
                    told = await self._gaps.told_states(server, (event,), give_up_ms)
                    states = {**told, **states}
                state, _ = await self._gaps.state_before(event, states)
                await self._inbound.check_create(event)
                if await self._inbound.refusal_as_history(server, event, state) is not None:
                    continue
            except CannotDecide as problem:
                log.info("{event_id} left out: {problem}", event_id=event.event_id, problem=problem)
                continue
            kept.append((event, state))
            states[event.event_id] = state.set(event.key, event.event_id) if event.is_state else state
        if kept:
            await self._rooms.store_history(kept[::-1])
        return bool(kept)

    async def _is_after_a_gap(self, event: Event, states: Mapping[EventID, StateMap]) -> bool:
        """Whether the state after an event that it follows is neither stored nor among `states`."""
        prevs = [prev_id for prev_id in event.prev_events if prev_id not in states]
        rows = await self._rooms.rows(prevs)
        return any(prev_id not in rows or rows[prev_id].standing.is_outlier for prev_id in prevs)
