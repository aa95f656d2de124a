"""The room service as `federation.receiver.Receiver`: what judging events of other servers sees of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.events.versions import RoomVersion
from minihs.federation.receiver import CannotDecide
from minihs.homeserver.rooms.service import Rooms
from minihs.homeserver.rooms.states import IncompleteHistory
from minihs.rooms.state_map import StateMap
from minihs.store.along import Along
from minihs.store.events import EventRow, Standing


class InboundRooms:
    """Passes everything on to `Rooms`; a state that cannot be resolved becomes CannotDecide."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def rows(self, event_ids: Iterable[EventID]) -> Mapping[EventID, EventRow]:
        return await self._rooms.rows(event_ids)

    async def extremities(self, room_id: RoomID) -> tuple[EventID, ...]:
        return await self._rooms.extremities(room_id)

    async def lowest_depth(self, room_id: RoomID) -> int:
        return await self._rooms.lowest_depth(room_id)

    async def newest_state(self, room_id: RoomID) -> StateMap:
        return await self._rooms.newest_state(room_id)

    async def state_of_prevs(self, room_id: RoomID, prev_events: Sequence[EventID]) -> StateMap | None:
        try:
            return await self._rooms.state_of_prevs(room_id, prev_events)
        except IncompleteHistory as incomplete:
            raise CannotDecide(str(incomplete)) from incomplete

    async def opens_one_branch_too_many(self, event: Event) -> bool:
        return await self._rooms.opens_one_branch_too_many(event)

    async def resolve(self, version: RoomVersion, forks: Sequence[StateMap]) -> StateMap:
        try:
            return await self._rooms.resolve(version, forks)
        except IncompleteHistory as incomplete:
            raise CannotDecide(str(incomplete)) from incomplete

    async def receive(
        self,
        event: Event,
        *,
        state_before: StateMap,
        standing: Standing,
        refusal: str | None,
        forward_from: ServerName | None = None,
        along: Along | None = None,
    ) -> Deferred[None]:
        try:
            return await self._rooms.receive(
                event,
                state_before=state_before,
                standing=standing,
                refusal=refusal,
                forward_from=forward_from,
                along=along,
            )
        except IncompleteHistory as incomplete:
            raise CannotDecide(str(incomplete)) from incomplete

    async def store_outliers(self, events: Sequence[tuple[Event, str | None]]) -> None:
        if events:
            await self._rooms.store_outliers(events)
