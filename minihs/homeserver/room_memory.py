"""One room as the room service holds it in memory: what the next event is built on.

It runs ahead of the disk: `group` and `extremities` include events that are still in the writer's queue,
`durable` and `durable_extremities` do not. Readers are shown the durable ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import DeferredLock

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName, UserID, server_name_of
from minihs.events.versions import RoomVersion
from minihs.rooms.state_map import StateMap
from minihs.store.cache import LruCache
from minihs.store.state import StateGroup

CACHED_AUTH_EVENTS = 2_000


@dataclass(slots=True, kw_only=True)
class RoomMemory:
    """The moving parts of a room.

    `lock` is held while an event from elsewhere is placed, which may need a state resolution; events of our
    own wait only while somebody holds it.
    """

    room_id: RoomID
    version: RoomVersion
    group: StateGroup
    extremities: tuple[EventID, ...]
    depth: int
    durable: StateMap
    durable_extremities: tuple[EventID, ...]
    joined: set[UserID] = field(default_factory=set)
    servers: dict[ServerName, int] = field(default_factory=dict)
    auth_events: LruCache[EventID, Event] = field(default_factory=lambda: LruCache(CACHED_AUTH_EVENTS))
    lock: DeferredLock = field(default_factory=DeferredLock)
    under_way: int = 0
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

    def set_members(self, joined: Iterable[UserID]) -> None:
        """Start with these joined users."""
        self.joined, self.servers, self._server_list = set(), {}, None
        for user_id in joined:
            self.set_membership(user_id, "join")

    def remember(self, events: Iterable[Event]) -> None:
        """Keep state events at hand for the auth rules."""
        for event in events:
            self.auth_events.put(event.event_id, event)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What must be put back when building several events fails half-way; taken and used without an await."""

    group: StateGroup
    extremities: tuple[EventID, ...]
    depth: int
    joined: Sequence[tuple[UserID, bool]]
