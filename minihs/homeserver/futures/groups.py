"""Groups of futures in memory: loaded on demand, kept while something is under way with them.

What a state event may end is read before it gets its place in the room. Nothing is decided here; see
`futures.engine`.
"""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from minihs.events.ids import EventID
from minihs.futures.model import Future, FutureGroup, FutureID, GroupID
from minihs.homeserver.futures.slots import StateSlot, StateSlots, slots_of
from minihs.store.future_rows import slot_hash
from minihs.store.futures import FutureStore

KNOWN_SLOTS = 10_000
"""Of so many slots it is kept in mind which groups are on them."""


class LiveGroup(msgspec.Struct):
    """A group as it stands, changes in the writer's queue included.

    `waiting` is a list while an event of the group is being made: those on it go on when its outcome is
    known. `ended`: a member was finalised since the group was last settled. `gone`: the memory was given up,
    and whoever waited must look the group up again. `born_with` is the event that was sent together with the
    scheduling: it is not newer than the group.
    """

    group: FutureGroup
    pending: int = 0
    waiting: list[Deferred[None]] | None = None
    ended: bool = False
    gone: bool = False
    born_with: EventID | None = None

    async def turn(self) -> None:
        """Wait until no event of the group is being made."""
        while self.waiting is not None:
            waiter: Deferred[None] = Deferred()
            self.waiting.append(waiter)
            await waiter

    def begin(self) -> None:
        """An event of the group is being made."""
        self.waiting = []

    def end(self) -> None:
        """Its outcome is known: let the others go on, in the order in which they came."""
        waiters, self.waiting = self.waiting or [], None
        for waiter in waiters:
            waiter.callback(None)


class FutureGroups:
    """The groups in memory; at most `capacity` that could be read again, of about a kilobyte each.

    A heartbeat for a group that must be read first costs half as much again."""

    def __init__(self, store: FutureStore, *, capacity: int = 150_000) -> None:
        self._store = store
        self._capacity = capacity
        self._groups: dict[GroupID, LiveGroup] = {}
        self._recent: dict[GroupID, None] = {}
        self._loading: dict[GroupID, list[Deferred[None]]] = {}
        self._by_delay_id: dict[str, LiveGroup] = {}
        self._by_name: dict[str, LiveGroup] = {}
        self._slots = StateSlots(KNOWN_SLOTS, lambda group_id: group_id in self._groups)
        self._any_on_slots = False
        self._moves = 0  # groups that came into memory or left it

    async def load(self) -> None:
        """Once, at start: see whether a state event may end anything at all."""
        self._any_on_slots = await self._store.has_slots()

    def loaded(self, delay_id: str) -> LiveGroup | None:
        """The group of a future, if it is in memory. Python's hash is keyed: no time tells how nearly."""
        return self._by_delay_id.get(delay_id)

    def on_slot(self, slot: StateSlot) -> list[LiveGroup]:
        """The groups with a member that a new state event there may end, in order of their IDs; all of them
        when `reading` has just said None."""
        if not self._any_on_slots:
            return []
        groups = (self._groups.get(group_id) for group_id in self._slots.groups(slot_hash(*slot)))
        return [live for live in groups if live is not None]

    def reading(self, slot: StateSlot) -> Awaitable[None] | None:
        """What must be awaited before a state event may get its place there; None when nothing, and that
        holds until control is given away."""
        if not self._any_on_slots:
            return None
        key = slot_hash(*slot)
        if self._slots.knows(key) and all(group_id in self._groups for group_id in self._slots.groups(key)):
            return None
        return self._read(key)

    async def one(self, group_id: GroupID) -> LiveGroup | None:
        """The group; None when it is finished."""
        live = self._groups.get(group_id) or await self._load(group_id)
        if live is not None and group_id in self._recent:
            del self._recent[group_id]
            self._recent[group_id] = None
        return live

    async def load_with(self, delay_id: str) -> None:
        """Bring the group of a future into memory, if it is not finished: one read, for heartbeats."""
        moves = self._moves
        group = await self._store.maybe_group_with(delay_id)
        if group is None:
            return
        if moves != self._moves or group.id in self._groups or group.id in self._loading:
            await self.one(group.id)  # what was read may be older than what memory knows
        else:
            self.add(LiveGroup(group))

    async def of_future(self, future_id: FutureID) -> LiveGroup | None:
        """The group of a scheduled future; None when there is no such future."""
        live = self._groups.get(GroupID(future_id))  # most groups are named by their only member
        if live is not None and live.group.member(future_id) is not None:
            return live
        group_id = await self._store.maybe_group_of(future_id)
        return None if group_id is None else await self.one(group_id)

    async def named(self, name: str) -> LiveGroup | None:
        """The group of that name that is not finished, or of which an event is still being made."""
        live = self._by_name.get(name)
        if live is None:
            group_id = await self._store.maybe_group_named(name)
            live = self._by_name.get(name)
            if live is None and group_id is not None:
                live = await self.one(group_id)
        if live is None or (live.group.finished and live.waiting is None):
            return None
        return live

    def add(self, live: LiveGroup) -> None:
        """Keep a group that was read, or has just come into being."""
        group = live.group
        self._moves += 1
        self._groups[group.id] = live
        self._recent[group.id] = None
        self._index(live)
        if len(self._recent) > self._capacity:
            self._evict()

    def update(self, live: LiveGroup, group: FutureGroup) -> None:
        """The group after a step."""
        if group is live.group:
            return
        if len(group.members) != len(live.group.members):
            live.group = group
            self._index(live)
        else:
            live.group = group

    def ended(self, live: LiveGroup, future: Future) -> None:
        """A member is finalised: no state event can end it any more."""
        live.ended = True
        slots = slots_of(future)
        if slots:
            left = {slot for other in live.group.scheduled for slot in slots_of(other)}
            for slot in slots:
                if slot not in left:
                    self._slots.discard(slot, live.group.id)

    def settle(self, live: LiveGroup) -> None:
        """What was in the writer's queue is durable: finalised members are left to the store."""
        if not live.ended or live.pending or live.gone:
            return
        live.ended = False
        group = live.group
        if group.finished:
            self.drop(live)
            return
        ended = [future for future in group.members if future.outcome is not None]
        if ended:
            for future in ended:
                self._by_delay_id.pop(future.delay_id, None)
            live.group = replace(group, members=group.scheduled)

    def drop(self, live: LiveGroup) -> None:
        """Forget the group: its memory is wrong, or nothing of it is left."""
        group = live.group
        live.gone = True
        if self._groups.get(group.id) is not live:
            return
        self._moves += 1
        del self._groups[group.id]
        self._recent.pop(group.id, None)
        self._slots.left_memory(group.id, (slot for future in group.members for slot in slots_of(future)))
        if group.name is not None and self._by_name.get(group.name) is live:
            del self._by_name[group.name]
        for future in group.members:
            self._by_delay_id.pop(future.delay_id, None)

    async def _load(self, group_id: GroupID) -> LiveGroup | None:
        """Read a group, for all who ask meanwhile: a second answer of the store could be older than what the
        first has led to."""
        waiters = self._loading.get(group_id)
        if waiters is not None:
            waiter: Deferred[None] = Deferred()
            waiters.append(waiter)
            await waiter
            return await self.one(group_id)
        self._loading[group_id] = waiters = []
        try:
            group = await self._store.maybe_group(group_id)
            live = None if group is None else LiveGroup(group)
            if live is not None:
                self.add(live)
        finally:
            del self._loading[group_id]
            for waiter in waiters:
                waiter.callback(None)
        return live

    async def _read(self, slot: int) -> None:
        """Learn which groups are on a slot, and bring them into memory."""
        if not self._slots.knows(slot):
            with self._slots.learning(slot):
                for group_id in await self._store.all_groups_on(slot):
                    self._slots.add(slot, group_id)
        group_ids = self._slots.groups(slot)
        self._capacity = max(self._capacity, 2 * len(group_ids))  # they must be in memory at the same time
        for group_id in group_ids:
            if await self.one(group_id) is None:
                self._slots.discard(slot, group_id)

    def _index(self, live: LiveGroup) -> None:
        group = live.group
        if group.name is not None and not group.finished:
            self._by_name[group.name] = live
        for future in group.members:
            self._by_delay_id[future.delay_id] = live
            if future.outcome is None:
                for slot in slots_of(future):
                    self._any_on_slots = True
                    self._slots.add(slot, group.id)

    def _evict(self) -> None:
        """Make room: a tenth at once, the groups that were used longest ago and are at rest."""
        for group_id in list(self._recent)[: max(1, self._capacity // 10)]:
            live = self._groups[group_id]
            if not live.pending and live.waiting is None:
                self.drop(live)
