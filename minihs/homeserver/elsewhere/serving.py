"""What other servers may read of our rooms: events, state, auth chains, history.

A server must be in the room and pass its ACL; what its people may not see it gets redacted. Answers are
bounded. Source: Server-Server API, "Retrieving event authorisation information", "Backfilling and retrieving
missing events", "Retrieving events".
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Collection, Iterable, Sequence

import msgspec

from minihs.events.event import Event, redact_event
from minihs.events.ids import EventID, RoomID, ServerName, UserID, is_of_server
from minihs.federation.remote_lookups import Direction, FoundEvent
from minihs.federation.remote_rooms import LARGE_BYTES, MAX_EVENTS
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.errors import Forbidden, NotFound, TooLarge
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock, sleep
from minihs.platform.lanes import Lanes
from minihs.rooms.dag import AuthChainWalk, Citing, authorising_ids, parents_first, topological_order
from minihs.rooms.state_map import StateMap
from minihs.rooms.visibility import VISIBILITY_KEY, HistoryVisibility, server_may_see, visibility_in
from minihs.store.events import EventRow, Standing, StoredPDU
from minihs.store.timeline import TimelineStore

MAX_BACKFILL = 100
MAX_MISSING_EVENTS = 100
MAX_STARTS = 50  # event IDs that one question may name
MAX_WALKED = (
    1_000  # events that one question about missing ones may lead past: there may be many rejected ones
)
READ_AT_ONCE = 250  # events of a state or an auth chain
ORDERED_AT_ONCE = 5_000  # events of an auth chain, at 1 µs each
LARGE_WAITING = 20  # questions of one server for states and auth chains


class StateAnswer(msgspec.Struct, frozen=True):
    """The state before an event and the auth chains of the events in it, parents first."""

    state: tuple[StoredPDU, ...]
    auth_chain: tuple[StoredPDU, ...]


class RoomServing:
    """Answers other servers. Every method raises UnknownRoom, and Forbidden for servers that may not ask.

    Each server is given one large answer (states, auth chains) at a time; those that are too large for
    anybody to take raise TooLarge, and a server with too many questions gets LaneFull.
    """

    def __init__(self, *, clock: Clock, rooms: Rooms, acls: ServerACLs, timeline: TimelineStore) -> None:
        self._large: Lanes[ServerName] = Lanes(LARGE_WAITING)
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
        return await self._as_visible(_Sight(origin), row)

    async def state(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> StateAnswer:
        """The state before an event; NotFound when the event or the state there is not known."""
        await self._check(origin, room_id)
        row = await self._rooms.row(event_id)
        state = await self._rooms.state_before(event_id)
        if row is None or row.event.room_id != room_id or state is None:
            raise NotFound(f"The state at the event {event_id} is not known here.")
        return await self.answer_of(origin, room_id, state)

    async def answer_of(self, origin: ServerName, room_id: RoomID, state: StateMap) -> StateAnswer:
        """A state of a room as events, with the auth chains of all of them."""
        return await self._large.run(origin, lambda: self._answer_of(state, _Answer(room_id)))

    async def _answer_of(self, state: StateMap, answer: _Answer) -> StateAnswer:
        events: list[StoredPDU] = []
        async for some in self._portions(list(state.values()), answer):
            events.extend(some.values())
        chain = await self._auth_chain(events, answer)
        if len(events) > READ_AT_ONCE:
            await sleep(self._clock, 0)  # before it is written, which takes long as well
        return StateAnswer(tuple(events), chain)

    async def event_auth(
        self, origin: ServerName, room_id: RoomID, event_id: EventID
    ) -> tuple[StoredPDU, ...]:
        """The auth chain of an event; NotFound when the event is not known."""
        await self._check(origin, room_id)
        row = await self._rooms.row(event_id)
        if row is None or row.event.room_id != room_id:
            raise NotFound(f"The event {event_id} is not known in the room {room_id}.")
        event = row.event
        return await self._large.run(origin, lambda: self._auth_chain((event,), _Answer(room_id)))

    async def _auth_chain(self, events: Iterable[Citing], answer: _Answer) -> tuple[StoredPDU, ...]:
        """Everything that authorises the events, directly or not, parents first."""
        walk = AuthChainWalk[StoredPDU](parent for event in events for parent in authorising_ids(event))
        while wanted := walk.wanted():
            found: dict[EventID, StoredPDU] = {}
            async for some in self._portions(wanted, answer):
                found.update(some)
            walk.feed(found)
        chain = walk.chain
        ordered: list[StoredPDU] = []
        for event_id in parents_first({event_id: authorising_ids(pdu) for event_id, pdu in chain.items()}):
            ordered.append(chain[event_id])
            if len(ordered) % ORDERED_AT_ONCE == 0:
                await sleep(self._clock, 0)
        return tuple(ordered)

    async def _portions(
        self, event_ids: Sequence[EventID], answer: _Answer
    ) -> AsyncIterator[dict[EventID, StoredPDU]]:
        """Those that are known and of the room, in the order asked for; others get their turn while many are
        read."""
        for start in range(0, len(event_ids), READ_AT_ONCE):
            some = await self._rooms.pdus(event_ids[start : start + READ_AT_ONCE])
            if answer.take(some.values()):
                await sleep(self._clock, 0)
            yield {event_id: pdu for event_id, pdu in some.items() if pdu.room_id == answer.room_id}

    async def backfill(
        self, origin: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> list[Event]:
        """Up to `limit` events: the given ones and what precedes them, the latest (by depth) first."""
        await self._check(origin, room_id)
        limit = min(limit, MAX_BACKFILL)
        queued = set(event_ids[:MAX_STARTS])
        walk = _Walk(self._rooms, self._clock, room_id)
        queue = [_latest_first(row) for row in await walk.rows(sorted(queued))]
        heapq.heapify(queue)
        found: list[Event] = []
        sight = _Sight(origin)
        while queue and len(found) < limit:
            *_, row = heapq.heappop(queue)
            if row.standing.is_outlier or row.standing is Standing.REJECTED:
                continue
            found.append(await self._as_visible(sight, row))
            prevs = [prev_id for prev_id in row.event.prev_events if prev_id not in queued]
            queued.update(prevs)
            for earlier in await walk.rows(prevs):
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
        walk = _Walk(self._rooms, self._clock, room_id)
        layer = [row for row in await walk.rows(latest[:MAX_STARTS]) if not row.standing.is_outlier]
        while layer and len(found) < limit and len(seen) < MAX_WALKED:
            cited = (prev_id for row in layer for prev_id in row.event.prev_events)
            prevs = list(dict.fromkeys(prev_id for prev_id in cited if prev_id not in seen))
            seen.update(prevs)
            layer = [
                row
                for row in await walk.rows(prevs[:MAX_WALKED])
                if not row.standing.is_outlier and row.event.depth >= min_depth
            ]
            found.extend(row for row in layer if row.standing is not Standing.REJECTED)
        sight = _Sight(origin)
        visible = [await self._as_visible(sight, row) for row in found[:limit]]
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

    async def _as_visible(self, sight: _Sight, row: EventRow) -> Event:
        """The event, redacted when nobody of that server may see it."""
        event, group = row.event, row.before_group
        if group is None:  # an outlier: of the events around it, one needs the content of state events only
            return event if event.is_state else redact_event(event)
        view = sight.views.get(group)
        if view is None:
            state = await self._rooms.state_before(event.event_id)
            view = sight.views[group] = await self._view(sight.origin, StateMap() if state is None else state)
        visibility, memberships = view
        seen = server_may_see(event, sight.origin, visibility=visibility, memberships=memberships)
        return event if seen else redact_event(event)

    async def _view(self, origin: ServerName, state: StateMap) -> _View:
        """What decides at a state: its visibility, and where that asks for them the server's memberships."""
        visibility_id = state.get(VISIBILITY_KEY)
        row = None if visibility_id is None else await self._rooms.row(visibility_id)
        visibility = visibility_in(None if row is None else row.event.content)
        memberships: list[tuple[UserID, str]] = []
        if visibility in (HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED):
            return visibility, memberships
        theirs = [
            event_id
            for (event_type, state_key), event_id in state.items()
            if event_type == "m.room.member" and is_of_server(state_key, origin)
        ]
        if len(state) > READ_AT_ONCE:
            await sleep(self._clock, 0)  # for there may be a hundred states to look at
        for start in range(0, len(theirs), READ_AT_ONCE):
            rows = await self._rooms.rows(theirs[start : start + READ_AT_ONCE])
            memberships += [
                (UserID(row.event.state_key or ""), row.event.membership or "") for row in rows.values()
            ]
            if any(membership == "join" for _, membership in memberships):
                break  # more would change nothing
            await sleep(self._clock, 0)
        return visibility, memberships


_View = tuple[HistoryVisibility, list[tuple[UserID, str]]]


class _Sight(msgspec.Struct):
    """One server before the events of one answer; `views` by state group, as many events have the same."""

    origin: ServerName
    views: dict[int, _View] = msgspec.field(default_factory=dict)


class _Walk:
    """Reads the events of one room along their links; what these name of other rooms is nobody's business."""

    def __init__(self, rooms: Rooms, clock: Clock, room_id: RoomID) -> None:
        self._rooms = rooms
        self._clock = clock
        self._room_id = room_id
        self._unpaused = 0

    async def rows(self, event_ids: Sequence[EventID]) -> list[EventRow]:
        """Those that are known and of the room; others get their turn while many are read."""
        self._unpaused += len(event_ids)
        if self._unpaused > READ_AT_ONCE:
            self._unpaused = 0
            await sleep(self._clock, 0)
        rows = await self._rooms.rows(event_ids)
        return [row for row in rows.values() if row.event.room_id == self._room_id]


class _Answer(msgspec.Struct):
    """A large answer about one room: what is still free in it, what was read since others had their turn."""

    room_id: RoomID
    events_left: int = MAX_EVENTS
    bytes_left: int = LARGE_BYTES
    unpaused: int = 0

    def take(self, pdus: Collection[StoredPDU]) -> bool:
        """Use room for these; whether it is time for a pause. Raises TooLarge."""
        self.events_left -= len(pdus)
        self.bytes_left -= sum(len(pdu.pdu) for pdu in pdus)
        if self.events_left < 0 or self.bytes_left < 0:
            raise TooLarge(
                "The answer would be larger than any server takes. Ask for less, or another server."
            )
        self.unpaused += len(pdus)
        if self.unpaused < READ_AT_ONCE:
            return False
        self.unpaused = 0
        return True


def _latest_first(row: EventRow) -> tuple[int, int, EventID, EventRow]:
    return -row.event.depth, -row.position, row.event.event_id, row
