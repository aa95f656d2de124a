"""Placement: events from elsewhere find their place in a room's graph, history and state.

The receipt checks were made by the receiver; here an event comes with its standing and the state before it.
Everything runs under the room's lock, because a state resolution may have to wait for events to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from minihs.events.event import Event, redact_event
from minihs.events.hashes import content_hash_matches
from minihs.events.ids import EventID, ServerName, UserID, server_name_of
from minihs.events.versions import RoomVersion
from minihs.homeserver.rooms.branches import RoomBranches
from minihs.homeserver.rooms.commits import Pending, RoomCommits
from minihs.homeserver.rooms.memory import RoomMemories, RoomMemory
from minihs.homeserver.rooms.redactions import RoomRedactions
from minihs.homeserver.rooms.states import IncompleteHistory, RoomStates
from minihs.platform.clock import Clock, sleep
from minihs.rooms.power import CREATE
from minihs.rooms.state_map import StateChange, StateMap
from minihs.store.along import Along
from minihs.store.events import EventRow, EventStore, Standing
from minihs.store.rooms import MemberRow, RoomStore
from minihs.store.state import StateGroup, StateStore
from minihs.store.writer import Batch, Writer

OUTLIERS_AT_ONCE = 500
"""Events that one batch stores, at 10 to 20 µs each; a larger state gets a batch of its own."""
FOLLOWED_AT_ONCE = 2_000  # changes of state, at 3 µs each


class RoomPlacement:
    """Places what other servers made."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        clock: Clock,
        writer: Writer,
        rooms: RoomStore,
        events: EventStore,
        state_groups: StateStore,
        memories: RoomMemories,
        states: RoomStates,
        branches: RoomBranches,
        redactions: RoomRedactions,
        commits: RoomCommits,
    ) -> None:
        self._server_name = server_name
        self._clock = clock
        self._writer = writer
        self._rooms = rooms
        self._events = events
        self._state_groups = state_groups
        self._memories = memories
        self._states = states
        self._branches = branches
        self._redactions = redactions
        self._commits = commits

    async def receive(
        self,
        event: Event,
        state_before: StateMap,
        standing: Standing,
        refusal: str | None,
        forward_from: ServerName | None,
        along: Along | None,
    ) -> Deferred[None]:
        """Place one event; see `Rooms.receive`."""
        room = await self._memories.locked(event.room_id)
        try:
            known = await self._states.maybe_row(event.event_id)
            if known is not None:
                if not known.standing.is_outlier:
                    return _already_done()
                event = _whole(event, known)
            return await self._place(room, event, state_before, standing, refusal, forward_from, along)
        finally:
            room.lock.release()

    async def release(self, row: EventRow) -> Deferred[None]:
        """Accept an event that was withheld, on the state that is stored before it; one of our own goes to
        the other servers in the room now."""
        event = row.event
        ours = server_name_of(event.sender) == self._server_name
        room = await self._memories.locked(event.room_id)
        try:
            before = await self._states.group(row.before_group or 0)
            return await self._place(
                room,
                event,
                before.state,
                Standing.ACCEPTED,
                None,
                self._server_name if ours else None,
                None,
                released=True,
            )
        finally:
            room.lock.release()

    async def adopt(
        self,
        version: RoomVersion,
        join_event: Event,
        state_before: StateMap,
        outliers: Sequence[Event],
        along: Along | None,
    ) -> Deferred[None]:
        """Enter a room through another server; see `Rooms.adopt`."""
        # A large room in one batch would hold up everybody. What is stored ahead is found by the next join if
        # this one fails, and hurts nobody meanwhile.
        stored = 0
        while len(outliers) - stored > OUTLIERS_AT_ONCE:
            share = outliers[stored : stored + OUTLIERS_AT_ONCE]
            await self.store_outliers([(event, None) for event in share])
            stored += len(share)
        old = await self._memories.maybe(join_event.room_id)
        if old is not None:
            await old.lock.acquire()
        try:
            return await self._adopt(version, join_event, state_before, outliers, stored, old, along)
        finally:
            if old is not None:
                old.lock.release()

    async def store_outliers(self, events: Sequence[tuple[Event, str | None]]) -> None:
        """Store events without a place; each with the reason for its rejection, or None. Known ones stay."""
        batch = Batch()
        for event, refusal in events:
            self._add_outlier(batch, event, refusal)
        self._redact(batch, await self._redactions.by_earlier(event for event, _ in events))
        await self._writer.submit(batch)

    async def store_history(self, events: Sequence[tuple[Event, StateMap]]) -> None:
        """Store accepted events from before our time, newest first, each with the state before it."""
        batch = Batch()
        groups: list[StateGroup] = []
        newer: StateGroup | None = None
        known = await self._states.rows(event.event_id for event, _ in events)
        for came, state_before in events:
            event = _whole(came, known.get(came.event_id))
            before = self._group_near(batch, newer, state_before, groups)
            after = self._after(batch, before, event, groups)
            newer = before
            row = EventRow(
                event=event,
                position=self._commits.history_position(),
                before_group=before.number,
                after_group=after.number,
            )
            self._events.add(batch, row, may_be_known=True)
        redacted = await self._redactions.in_history(events)
        self._redact(batch, redacted)
        await self._writer.submit(batch)
        for event_id in (*(event.event_id for event, _ in events), *redacted):
            self._events.forget(event_id)

    def _redact(self, batch: Batch, redacted: Mapping[EventID, EventID]) -> None:
        for event_id, redaction_id in redacted.items():
            self._events.redact(batch, event_id, redaction_id)

    async def _place(
        self,
        room: RoomMemory,
        event: Event,
        state_before: StateMap,
        standing: Standing,
        refusal: str | None,
        forward_from: ServerName | None,
        along: Along | None,
        *,
        released: bool = False,
    ) -> Deferred[None]:
        pending = Pending(room, local=False, announced=standing is Standing.ACCEPTED)
        before = await self._group_of(room, pending, event, state_before)
        rejected = standing is Standing.REJECTED
        after = before if rejected else self._after(pending.batch, before, event, pending.groups)
        extremities, current = room.extremities, room.group
        changes: tuple[StateChange, ...] = ()
        changed: dict[EventID, Event] = {}
        redacted_by: EventID | None = None
        if standing is Standing.ACCEPTED:
            after_it = await self._branches.after(room, event)
            if after_it is not None:
                extremities = after_it
                current = await self._current_group(room, pending, event, extremities, after)
                changes = self._changes(room, event, before, after, current)
                changed = await self._states.events(
                    change.new
                    for change in changes
                    if change.new is not None and change.new != event.event_id
                )
                changed[event.event_id] = event
            target = await self._redactions.target(event, before.state)
            if target is not None:
                self._commits.redact(pending, target.event.event_id, event.event_id)
            redacted_by = (await self._redactions.by_earlier((event,))).get(event.event_id)

            while reading := self._commits.must_read(room.room_id, [(event.type, event.state_key)]):
                await reading

        # From here to the submission nothing waits: positions are submitted in the order of allocation.
        delay_id = None
        if along is not None and standing is Standing.ACCEPTED:
            along.also(pending.batch, event)
            delay_id = along.delay_id
        row = EventRow(
            event=event,
            position=self._commits.next_position(),
            standing=standing,
            refusal=refusal,
            before_group=before.number,
            after_group=after.number,
            delay_id=delay_id,
        )
        if released:
            self._events.release(pending.batch, row)
        else:
            self._events.add(pending.batch, row, may_be_known=True)
        if redacted_by is not None:
            self._commits.redact(pending, event.event_id, redacted_by)
            row = replace(row, event=redact_event(event), redacted_by=redacted_by)
        pending.rows.append(row)
        pending.changes.append(changes)
        servers = room.server_list()
        self._commits.add_changes(pending, row.position, changes, changed)
        self._rooms.replace_extremities(pending.batch, room.room_id, room.extremities, extremities)
        if forward_from is not None:
            passed_over = (self._server_name, forward_from)
            self._commits.forward(
                pending, row.position, [server for server in servers if server not in passed_over]
            )
        if standing is Standing.ACCEPTED:
            self._commits.queue_event(pending, event, changes)
        if current is not room.group:
            self._rooms.set_state_group(pending.batch, room.room_id, current.number)
        room.group, room.extremities = current, extremities
        if event.event_id in extremities:
            room.depth = max(room.depth, event.depth)
        room.remember(changed.values())
        self._commits.submit(pending)
        return pending.done

    async def _group_of(
        self, room: RoomMemory, pending: Pending, event: Event, state: StateMap
    ) -> StateGroup:
        """A stored group for the state before the event: one that is there, or a delta to it."""
        if state is room.group.state:
            return room.group
        known = await self._states.groups_after(room.room_id, event.prev_events[:1])
        base = known[0] if known else room.group
        return self._group_near(pending.batch, base, state, pending.groups)

    def _group_near(
        self, batch: Batch, base: StateGroup | None, state: StateMap, groups: list[StateGroup]
    ) -> StateGroup:
        if base is None:
            group = self._state_groups.add_snapshot(batch, state)
        else:
            changes = base.state.difference(state)
            if not changes:
                return base
            group = self._state_groups.add_delta(
                batch, base, [(change.key, change.new) for change in changes], state
            )
        groups.append(group)
        return group

    def _after(self, batch: Batch, before: StateGroup, event: Event, groups: list[StateGroup]) -> StateGroup:
        if event.state_key is None:
            return before
        state = before.state.set(event.key, event.event_id)
        group = self._state_groups.add_delta(batch, before, [(event.key, event.event_id)], state)
        groups.append(group)
        return group

    async def _current_group(
        self,
        room: RoomMemory,
        pending: Pending,
        event: Event,
        extremities: Sequence[EventID],
        after: StateGroup,
    ) -> StateGroup:
        """The state of the room with the event in it: resolved over all forward extremities."""
        others = [event_id for event_id in extremities if event_id != event.event_id]
        if not others:
            return after
        groups = await self._states.groups_after(room.room_id, others)
        if groups is None:
            raise IncompleteHistory(others)
        forks = [after.state, *(group.state for group in groups)]
        state = await self._states.resolve(room.version, forks, placing=event)
        if state == after.state:
            return after
        return self._group_near(pending.batch, room.group, state, pending.groups)

    def _changes(
        self, room: RoomMemory, event: Event, before: StateGroup, after: StateGroup, current: StateGroup
    ) -> tuple[StateChange, ...]:
        if current is room.group:
            return ()
        if current is after and before.state is room.group.state:
            return (StateChange(event.key, before.state.get(event.key), event.event_id),)
        return room.group.state.difference(current.state)

    async def _adopt(
        self,
        version: RoomVersion,
        join_event: Event,
        state_before: StateMap,
        outliers: Sequence[Event],
        stored: int,
        old: RoomMemory | None,
        along: Along | None,
    ) -> Deferred[None]:
        batch = Batch()
        groups: list[StateGroup] = []
        before = self._group_near(batch, None, state_before, groups)
        if len(state_before) > OUTLIERS_AT_ONCE:
            await self._writer.submit(batch)
            self._state_groups.remember(before)
            batch, groups = Batch(), []
        after = self._after(batch, before, join_event, groups)
        by_id = {event.event_id: event for event in outliers}
        by_id[join_event.event_id] = join_event
        room = RoomMemory(
            room_id=join_event.room_id,
            version=version,
            group=after,
            extremities=(join_event.event_id,),
            depth=join_event.depth,
            durable=state_before if old is None else old.durable,
            durable_extremities=() if old is None else old.durable_extremities,
        )
        if old is not None:
            room.set_members(sorted(old.joined))
        room.remember((by_id[after.state[CREATE]],))
        # The lock holds the old room still.
        changes = (StateMap() if old is None else old.state).difference(after.state)
        members: list[MemberRow | UserID] = []
        for start in range(0, len(changes), FOLLOWED_AT_ONCE):
            if len(changes) > FOLLOWED_AT_ONCE:
                await sleep(self._clock, 0)
            members += room.follow(changes[start : start + FOLLOWED_AT_ONCE], by_id)
        while reading := self._commits.must_read(room.room_id, [(join_event.type, join_event.state_key)]):
            await reading
        # From here to the submission nothing waits: positions are submitted in the order of allocation.
        pending = Pending(room, local=True, batch=batch, groups=groups)
        if along is not None:
            along.also(batch, join_event)
        self._rooms.add_room(batch, room.room_id, version.id, after.number)
        for event in outliers[stored:]:
            self._add_outlier(batch, event, None)
        row = EventRow(
            event=join_event,
            position=self._commits.next_position(),
            before_group=before.number,
            after_group=after.number,
            delay_id=None if along is None else along.delay_id,
        )
        self._events.add(batch, row, may_be_known=True)
        self._rooms.replace_extremities(
            batch, room.room_id, () if old is None else old.extremities, room.extremities
        )
        self._commits.add_followed_changes(pending, row.position, changes, members)
        pending.rows.append(row)
        pending.changes.append(changes)
        self._commits.queue_event(pending, join_event, changes)
        self._memories.put(room)
        self._commits.submit(pending)
        return pending.done

    def _add_outlier(self, batch: Batch, event: Event, refusal: str | None) -> None:
        row = EventRow(
            event=event,
            position=self._commits.history_position(),
            standing=Standing.OUTLIER if refusal is None else Standing.REJECTED_OUTLIER,
            refusal=refusal,
        )
        self._events.add(batch, row, may_be_known=True)


def _whole(event: Event, known: EventRow | None) -> Event:
    """The event with its content, where one of the two forms in which it came has kept it."""
    if known is None or known.redacted_by is not None or content_hash_matches(event.pdu):
        return event
    return known.event


def _already_done() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done
