"""One room as the room service holds it in memory: what the next event is built on.

It runs ahead of the disk: `group` and `extremities` include events that are still in the writer's queue,
`durable` and `durable_extremities` do not. Readers are shown the durable ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from twisted.internet.defer import DeferredLock

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName, UserID, server_name_of
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.homeserver.errors import UnknownRoom
from minihs.rooms.state_map import StateChange, StateMap
from minihs.store.cache import LruCache
from minihs.store.events import EventStore
from minihs.store.rooms import MemberRow, RoomStore
from minihs.store.state import StateGroup, StateStore

CACHED_AUTH_EVENTS = 2_000


class RoomMemory(msgspec.Struct, kw_only=True):
    """The moving parts of a room.

    `lock` is held while an event from elsewhere is placed, which may need a state resolution; events of our
    own wait only while somebody holds it.
    """

    room_id: RoomID
    version: RoomVersion
    group: StateGroup
    extremities: tuple[EventID, ...]
    """The latest to come first."""
    depth: int
    durable: StateMap
    durable_extremities: tuple[EventID, ...]
    joined: set[UserID] = msgspec.field(default_factory=set)
    servers: dict[ServerName, int] = msgspec.field(default_factory=dict)
    auth_events: LruCache[EventID, Event] = msgspec.field(
        default_factory=lambda: LruCache(CACHED_AUTH_EVENTS)
    )
    lock: DeferredLock = msgspec.field(default_factory=DeferredLock)
    under_way: int = 0
    stale: bool = False
    """This is no longer the room: a write failed or it was entered anew. Ask `RoomMemories` again."""
    _server_list: tuple[ServerName, ...] | None = None

    @property
    def state(self) -> StateMap:
        """The current state, events in the writer's queue included."""
        return self.group.state

    def server_list(self) -> tuple[ServerName, ...]:
        """Servers with a joined user, sorted; our own may be among them."""
        if self._server_list is None:
            self._server_list = tuple(sorted(self.servers))
        return self._server_list

    def set_membership(self, user_id: UserID, membership: str | None) -> None:
        """Keep `joined` and `servers` in step with a change of a member event."""
        if (membership == "join") == (user_id in self.joined):
            return
        server_name = server_name_of(user_id)
        count = self.servers.get(server_name, 0)
        if membership == "join":
            self.joined.add(user_id)
            self.servers[server_name] = count + 1
        else:
            self.joined.discard(user_id)
            self.servers[server_name] = count - 1
        if self.servers[server_name] == 0:
            del self.servers[server_name]
        if count == 0 or server_name not in self.servers:
            self._server_list = None

    def follow(
        self, changes: Iterable[StateChange], events: Mapping[EventID, Event]
    ) -> list[MemberRow | UserID]:
        """Keep in step with changes of the state; `events` has what keys are set to. What is to be stored of
        it: who is what now, and of whom a resolution has left nothing."""
        noted: list[MemberRow | UserID] = []
        for change in changes:
            event_type, state_key = change.key
            if event_type != "m.room.member":
                continue
            user_id = UserID(state_key)
            if change.new is None:
                self.set_membership(user_id, None)
                noted.append(user_id)
                continue
            event = events[change.new]
            membership = event.membership or "leave"
            self.set_membership(user_id, membership)
            noted.append(MemberRow(user_id, membership, event.event_id, event.sender))
        return noted

    def set_members(self, joined: Iterable[UserID]) -> None:
        """Start with these joined users."""
        self.joined, self.servers, self._server_list = set(), {}, None
        for user_id in joined:
            self.set_membership(user_id, "join")

    def remember(self, events: Iterable[Event]) -> None:
        """Keep state events at hand for the auth rules."""
        for event in events:
            self.auth_events.put(event.event_id, event)

    def checkpoint(self) -> Checkpoint:
        """What `restore` needs to undo the building of events that were not submitted."""
        return Checkpoint(self.group, self.extremities, self.depth, frozenset(self.joined))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put the room back as it was."""
        self.group, self.extremities, self.depth = checkpoint.group, checkpoint.extremities, checkpoint.depth
        self.set_members(sorted(checkpoint.joined))


class Checkpoint(msgspec.Struct, frozen=True):
    """A room before several events were built in one go."""

    group: StateGroup
    extremities: tuple[EventID, ...]
    depth: int
    joined: frozenset[UserID]


class RoomMemories:
    """The rooms in memory, loaded on demand; rooms at rest make way when there are too many."""

    def __init__(self, rooms: RoomStore, events: EventStore, states: StateStore, *, capacity: int) -> None:
        self._rooms = rooms
        self._events = events
        self._states = states
        self._capacity = capacity
        self._memories: dict[RoomID, RoomMemory] = {}
        self._loading: dict[RoomID, DeferredLock] = {}

    def count(self) -> int:
        """How many rooms are in memory."""
        return len(self._memories)

    def maybe_loaded(self, room_id: RoomID) -> RoomMemory | None:
        """The room if it is in memory."""
        return self._memories.get(room_id)

    async def one(self, room_id: RoomID) -> RoomMemory:
        """The room; UnknownRoom when this server does not know it."""
        room = self._memories.get(room_id)
        if room is not None:
            return room
        lock = self._loading.setdefault(room_id, DeferredLock())
        await lock.acquire()
        try:
            return self._memories.get(room_id) or await self._load(room_id)
        finally:
            lock.release()
            if not lock.locked:
                self._loading.pop(room_id, None)

    async def maybe(self, room_id: RoomID) -> RoomMemory | None:
        """The room, or None when this server does not know it."""
        try:
            return await self.one(room_id)
        except UnknownRoom:
            return None

    async def locked(self, room_id: RoomID) -> RoomMemory:
        """The room with its lock held; the caller releases it."""
        while True:
            room = await self.one(room_id)
            await room.lock.acquire()
            if not room.stale:
                return room
            room.lock.release()

    def put(self, room: RoomMemory) -> None:
        """Add a room that has just come into being, or been entered anew."""
        self.drop(room.room_id)
        self._memories[room.room_id] = room
        if len(self._memories) > self._capacity:
            self._evict()

    def drop(self, room_id: RoomID) -> None:
        """Forget what is in memory: the next use reads what is durable."""
        room = self._memories.pop(room_id, None)
        if room is not None:
            room.stale = True

    async def _load(self, room_id: RoomID) -> RoomMemory:
        row = await self._rooms.maybe_room(room_id)
        if row is None:
            raise UnknownRoom(f"This server does not know the room {room_id}.")
        group = await self._states.one_group(row.state_group)
        extremities = tuple(await self._rooms.all_extremities(room_id))
        tips = await self._events.events(extremities)
        room = RoomMemory(
            room_id=room_id,
            version=ROOM_VERSIONS[row.version],
            group=group,
            extremities=extremities,
            depth=max((event.depth for event in tips.values()), default=0),
            durable=group.state,
            durable_extremities=extremities,
        )
        room.set_members(await self._rooms.all_joined(room_id))
        self.put(room)
        return room

    def _evict(self) -> None:
        # The oldest tenth goes at once, so that a server with many busy rooms does not scan for each load.
        for room_id in list(self._memories)[: max(1, self._capacity // 10)]:
            room = self._memories[room_id]
            if not room.under_way and not room.lock.locked:
                self.drop(room_id)
