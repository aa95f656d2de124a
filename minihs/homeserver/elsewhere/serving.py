"""What other servers may read of our rooms: events, state, auth chains, history.

A server must be in the room and pass its ACL; what its people may not see it gets redacted. Answers are
bounded. Source: Server-Server API, "Retrieving event authorisation information", "Backfilling and retrieving
missing events", "Retrieving events".
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import msgspec

from minihs.events.event import Event, redact_event
from minihs.events.ids import EventID, RoomID, ServerName, UserID, is_of_server
from minihs.federation.remote_lookups import Direction, FoundEvent
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.errors import Forbidden, NotFound
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock, sleep
from minihs.rooms.dag import AuthChainWalk, authorising_ids, topological_order
from minihs.rooms.state_map import StateMap
from minihs.rooms.visibility import VISIBILITY_KEY, HistoryVisibility, server_may_see, visibility_in
from minihs.store.events import EventRow, Standing
from minihs.store.timeline import TimelineStore

MAX_BACKFILL = 100
MAX_MISSING_EVENTS = 100
MAX_STARTS = 50  # event IDs that one question may name
MAX_WALKED = (
    1_000  # events that one question about missing ones may lead past: there may be many rejected ones
)
READ_AT_ONCE = 250  # events, at 10 to 40 µs each, of the state of a large room


class StateAnswer(msgspec.Struct, frozen=True):
    """The state before an event and the auth chains of the events in it."""

    state: tuple[Event, ...]
    auth_chain: tuple[Event, ...]


class RoomServing:
    """Answers other servers. Every method raises UnknownRoom, and Forbidden for servers that may not ask."""

    def __init__(self, *, clock: Clock, rooms: Rooms, acls: ServerACLs, timeline: TimelineStore) -> None:
        self._clock = clock
        self._rooms = rooms
        self._acls = acls
        self._timeline = timeline

    async def event(self, origin: ServerName, event_id: EventID) -> Event:
        """One event; NotFound when it is not known."""
        row = await self._rooms.row(event_id)
        if row is None or row.standing.is_rejected:
            raise NotFound(f"The event {event_id} is not known here.")
        await self._check(origin, row.event.room_id)
        return await self._as_visible(origin, row)

    async def state(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> StateAnswer:
        """The state before an event; NotFound when the event or the state there is not known."""
        await self._check(origin, room_id)
        row = await self._rooms.row(event_id)
        state = await self._rooms.state_before(event_id)
        if row is None or row.event.room_id != room_id or state is None:
            raise NotFound(f"The state at the event {event_id} is not known here.")
        return await self.answer_of(state)

    async def answer_of(self, state: StateMap) -> StateAnswer:
        """A state as events, with the auth chains of all of them."""
        events = await self._events(state.values())
        chain = await self.auth_chain(events)
        if len(events) > READ_AT_ONCE:
            await sleep(self._clock, 0)  # before it is written, which takes as long
        return StateAnswer(tuple(events), chain)

    async def event_auth(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> tuple[Event, ...]:
        """The auth chain of an event; NotFound when the event is not known."""
        await self._check(origin, room_id)
        row = await self._rooms.row(event_id)
        if row is None or row.event.room_id != room_id:
            raise NotFound(f"The event {event_id} is not known in the room {room_id}.")
        return await self.auth_chain((row.event,))

    async def auth_chain(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Everything that authorises the events, directly or not, parents first."""
        walk = AuthChainWalk(parent for event in events for parent in authorising_ids(event))
        while wanted := walk.wanted():
            rows = await self._rooms.rows(wanted)
            walk.feed({event_id: row.event for event_id, row in rows.items()})
        return tuple(topological_order(walk.chain.values(), parents=authorising_ids))

    async def backfill(
        self, origin: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> list[Event]:
        """Up to `limit` events: the given ones and what precedes them, the latest (by depth) first."""
        await self._check(origin, room_id)
        limit = min(limit, MAX_BACKFILL)
        queued = set(event_ids[:MAX_STARTS])
        queue = [
            _latest_first(row)
            for row in (await self._rooms.rows(sorted(queued))).values()
            if row.event.room_id == room_id
        ]
        heapq.heapify(queue)
        found: list[Event] = []
        while queue and len(found) < limit:
            *_, row = heapq.heappop(queue)
            if row.standing.is_outlier or row.standing is Standing.REJECTED:
                continue
            found.append(await self._as_visible(origin, row))
            prevs = [prev_id for prev_id in row.event.prev_events if prev_id not in queued]
            queued.update(prevs)
            for earlier in (await self._rooms.rows(prevs)).values():
                heapq.heappush(queue, _latest_first(earlier))
        return found

    async def missing_events(
        self,
        origin: ServerName,
        room_id: RoomID,
        *,
        latest: Sequence[EventID],
        earliest: Sequence[EventID],
        limit: int,
        min_depth: int,
    ) -> list[Event]:
        """Up to `limit` events before `latest`, breadth first, not going past `earliest`; oldest first."""
        await self._check(origin, room_id)
        limit = min(limit, MAX_MISSING_EVENTS)
        seen = {*earliest[:MAX_STARTS], *latest[:MAX_STARTS]}
        found: list[EventRow] = []
        layer = [
            row
            for row in (await self._rooms.rows(latest[:MAX_STARTS])).values()
            if row.event.room_id == room_id and not row.standing.is_outlier
        ]
        while layer and len(found) < limit and len(seen) < MAX_WALKED:
            prevs = [
                prev_id
                for row in layer
                for prev_id in row.event.prev_events
                if not (prev_id in seen or seen.add(prev_id))  # type: ignore[func-returns-value]
            ]
            layer = [
                row
                for row in (await self._rooms.rows(prevs)).values()
                if not row.standing.is_outlier and row.event.depth >= min_depth
            ]
            found.extend(row for row in layer if row.standing is not Standing.REJECTED)
        visible = [await self._as_visible(origin, row) for row in found[:limit]]
        return topological_order(visible)

    async def timestamp_to_event(
        self, origin: ServerName, room_id: RoomID, ts: int, direction: Direction
    ) -> FoundEvent:
        """The event nearest to a moment in one direction; NotFound when there is none here."""
        await self._check(origin, room_id)
        for row in await self._timeline.all_by_time(
            room_id, ts, forwards=direction == "f", after=None, limit=1
        ):
            return FoundEvent(row.event_id, row.origin_server_ts)
        raise NotFound(f"There is no event here in this direction ({direction}) of {ts}.")

    async def _check(self, origin: ServerName, room_id: RoomID) -> None:
        """The server may ask about the room: it is in it and no ACL keeps it out."""
        servers = await self._rooms.joined_servers(room_id)
        await self._acls.check(room_id, origin)
        if origin not in servers:
            raise Forbidden(f"{origin} is not in the room {room_id}.")

    async def _events(self, event_ids: Iterable[EventID]) -> list[Event]:
        """Those that are known, in the order asked for; others get their turn while many are read."""
        wanted = list(event_ids)
        found: list[Event] = []
        for start in range(0, len(wanted), READ_AT_ONCE):
            if start:
                await sleep(self._clock, 0)
            rows = await self._rooms.rows(wanted[start : start + READ_AT_ONCE])
            found.extend(row.event for row in rows.values())
        return found

    async def _as_visible(self, origin: ServerName, row: EventRow) -> Event:
        """The event, redacted when nobody of that server may see it."""
        event = row.event
        state = await self._rooms.state_before(event.event_id)
        if state is None:  # an outlier: of the events around it, one needs the content of state events only
            return event if event.is_state else redact_event(event)
        visibility = await self._visibility(state)
        if visibility in (HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED):
            return event
        member_events = await self._events(
            event_id
            for (event_type, state_key), event_id in state.items()
            if event_type == "m.room.member" and is_of_server(state_key, origin)
        )
        memberships = [
            (UserID(member.state_key), member.membership)
            for member in member_events
            if member.state_key is not None and member.membership is not None
        ]
        seen = server_may_see(event, origin, visibility=visibility, memberships=memberships)
        return event if seen else redact_event(event)

    async def _visibility(self, state: StateMap) -> HistoryVisibility:
        event_id = state.get(VISIBILITY_KEY)
        row = None if event_id is None else await self._rooms.row(event_id)
        return visibility_in(None if row is None else row.event.content)


def _latest_first(row: EventRow) -> tuple[int, int, EventID, EventRow]:
    return -row.event.depth, -row.position, row.event.event_id, row
