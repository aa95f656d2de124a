"""Commits: an event that has its place becomes rows of one batch, then durable, then known to others.

Everything that is stored with an event is put together here, whether it is our own or came from elsewhere.
When the batch is durable, the caller's Deferred fires first, then observers hear of it (`/sync`, futures),
then the federation queues are woken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from minihs.events.event import Event
from minihs.events.ids import (
    EventID,
    InvalidIdentifier,
    RoomID,
    ServerName,
    UserID,
    parse_user_id,
    server_name_of,
)
from minihs.homeserver.rooms.drafts import EventDraft, Reach
from minihs.homeserver.rooms.memory import RoomMemory
from minihs.homeserver.rooms.states import RoomStates
from minihs.platform.logs import Logger
from minihs.rooms.state_map import StateChange
from minihs.store.along import Also
from minihs.store.events import EventRow, EventStore, Standing
from minihs.store.rooms import MemberRow, RoomStore
from minihs.store.state import StateGroup, StateStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch, Writer

log = Logger()


class CommittedEvent(msgspec.Struct, frozen=True):
    """An accepted event that is durable, and how it changed the room's current state."""

    row: EventRow
    state_changes: tuple[StateChange, ...]
    local: bool

    @property
    def event(self) -> Event:
        return self.row.event

    @property
    def position(self) -> int:
        return self.row.position


StatePreparation = Callable[[RoomID, str, str], Awaitable[None] | None]
"""Asked before a state event gets its place: what an observer must read to hear of it, None when nothing."""


class RoomObserver(Protocol):
    """Hears of every accepted event of every room."""

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """The event has its place and its batch is still open: add rows that must be stored with it.

        `changes` is what it changes in the room's current state; an event that loses against what is there
        changes nothing.
        """

    def event_committed(self, committed: CommittedEvent) -> None:
        """The event is durable."""

    def event_failed(self, event: Event) -> None:
        """The batch of an event that was queued has failed; nothing of it is stored."""


class Pending(msgspec.Struct):
    """Events of one room that become durable together.

    `done` fires when they are. `durable_*` is what readers of the room are shown from then on.
    """

    room: RoomMemory
    local: bool
    batch: Batch = msgspec.field(default_factory=Batch)
    rows: list[EventRow] = msgspec.field(default_factory=list)
    changes: list[tuple[StateChange, ...]] = msgspec.field(default_factory=list)
    groups: list[StateGroup] = msgspec.field(default_factory=list)
    servers: set[ServerName] = msgspec.field(default_factory=set)
    redacted: list[EventID] = msgspec.field(default_factory=list)
    announced: bool = True
    done: Deferred[None] = msgspec.field(default_factory=Deferred)


class RoomCommits:
    """Puts batches together, submits them and spreads the news."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        writer: Writer,
        rooms: RoomStore,
        events: EventStore,
        states: StateStore,
        reads: RoomStates,
        stream: Stream,
        lowest_position: int,
        on_failed: Callable[[RoomID], None],
        wake_federation: Callable[[Sequence[ServerName]], None],
    ) -> None:
        self._server_name = server_name
        self._writer = writer
        self._rooms = rooms
        self._events = events
        self._states = states
        self._reads = reads
        self._stream = stream
        self._lowest_position = lowest_position
        self._on_failed = on_failed
        self._wake_federation = wake_federation
        self._observers: list[RoomObserver] = []
        self._told_of_withheld: list[Callable[[CommittedEvent], None]] = []
        self._preparations: list[StatePreparation] = []

    def observe(self, observer: RoomObserver) -> None:
        """Tell `observer` of every accepted event."""
        self._observers.append(observer)

    def observe_withheld(self, told: Callable[[CommittedEvent], None]) -> None:
        """Call `told` for each event of our own that is durable and shown to nobody (see `Reach`)."""
        self._told_of_withheld.append(told)

    def prepare_state(self, preparation: StatePreparation) -> None:
        """Ask `preparation` before each state event that is to be placed."""
        self._preparations.append(preparation)

    def must_read(self, room_id: RoomID, keys: Iterable[tuple[str, str | None]]) -> Awaitable[None] | None:
        """What observers must read before events with these types and state keys are queued; None when
        nothing, and that holds until control is given away."""
        for event_type, state_key in keys:
            if state_key is not None:
                for preparation in self._preparations:
                    reading = preparation(room_id, event_type, state_key)
                    if reading is not None:
                        return reading
        return None

    def next_position(self) -> int:
        """A live position; the batch must be submitted before control is given away."""
        return self._stream.allocate()

    def history_position(self) -> int:
        """A position below all others, for history and outliers."""
        self._lowest_position -= 1
        return self._lowest_position

    def begin_room(self, pending: Pending, create: Event, also: Also | None) -> None:
        """A new room, with its create event as the first of `pending`."""
        room = pending.room
        room.group = self._states.add_snapshot(pending.batch, room.state)
        pending.groups.append(room.group)
        self._rooms.add_room(pending.batch, room.room_id, room.version.id, room.group.number)
        draft = EventDraft(
            room_id=room.room_id, sender=create.sender, type=create.type, content=create.content
        )
        self.append(pending, create, draft, None, also)

    def append(
        self,
        pending: Pending,
        event: Event,
        draft: EventDraft,
        redaction_target: EventRow | None,
        also: Also | None,
    ) -> None:
        """Put an authorised event of our own at the end of its room."""
        room = pending.room
        batch = pending.batch
        if also is not None:
            also(batch, event)  # first: it may still refuse, and then nothing has been touched
        if draft.reach is not Reach.ROOM:
            self._append_apart(pending, event, draft, redaction_target)
            return
        position = self.next_position()
        before = after = room.group
        changes: tuple[StateChange, ...] = ()
        servers_before = room.server_list()
        if event.state_key is not None:
            key = (event.type, event.state_key)
            changes = (StateChange(key, before.state.get(key), event.event_id),)
            state = before.state.set(key, event.event_id)
            after = self._states.add_delta(batch, before, [(key, event.event_id)], state)
            pending.groups.append(after)
            room.auth_events.put(event.event_id, event)
            self.add_changes(pending, position, changes, {event.event_id: event})
        row = EventRow(
            event=event,
            position=position,
            before_group=before.number,
            after_group=after.number,
            device_id=draft.device_id,
            txn_id=draft.txn_id,
            delay_id=draft.delay_id,
        )
        self._events.add(batch, row)
        self._rooms.replace_extremities(
            batch,
            room.room_id,
            [prev for prev in room.extremities if prev in event.prev_events],
            (event.event_id,),
        )
        if redaction_target is not None:
            self.redact(pending, redaction_target.event.event_id, event.event_id)
        self._add_outbound(pending, position, event, servers_before)
        for observer in self._observers:
            observer.event_queued(event, batch, changes)
        pending.rows.append(row)
        pending.changes.append(changes)
        room.group = after
        room.extremities = (
            event.event_id,
            *(prev for prev in room.extremities if prev not in event.prev_events),
        )
        room.depth = event.depth

    def _append_apart(
        self, pending: Pending, event: Event, draft: EventDraft, redaction_target: EventRow | None
    ) -> None:
        """Store an event that does not get to everybody: it changes no state."""
        room, batch = pending.room, pending.batch
        shown = pending.announced = draft.reach in (Reach.HERE, Reach.READER)
        before = after = room.group
        if event.state_key is not None:
            state = before.state.set(event.key, event.event_id)
            after = self._states.add_delta(batch, before, [(event.key, event.event_id)], state)
        row = EventRow(
            event=event,
            position=self.next_position(),
            standing=Standing.ACCEPTED if shown else Standing.SOFT_FAILED,
            refusal=None if shown else draft.reach.value,
            before_group=before.number,
            after_group=after.number,
            device_id=draft.device_id,
            txn_id=draft.txn_id,
        )
        self._events.add(batch, row)
        pending.rows.append(row)
        pending.changes.append(())
        if draft.reach is Reach.HERE and redaction_target is not None:
            self.redact(pending, redaction_target.event.event_id, event.event_id)
        if draft.reach is Reach.EARLY:
            self._add_outbound(pending, row.position, event, room.server_list())
        if draft.reach in (Reach.WITHHELD, Reach.EARLY):
            followed = [prev for prev in room.extremities if prev in event.prev_events]
            self._rooms.replace_extremities(batch, room.room_id, followed, (event.event_id,))
            room.extremities = (
                *(prev for prev in room.extremities if prev not in followed),
                event.event_id,
            )
            room.depth = event.depth

    def add_changes(
        self,
        pending: Pending,
        position: int,
        changes: Sequence[StateChange],
        events: dict[EventID, Event],
    ) -> None:
        """Record changes of the room's current state; `events` has what keys are set to."""
        self.add_followed_changes(pending, position, changes, pending.room.follow(changes, events))

    def add_followed_changes(
        self,
        pending: Pending,
        position: int,
        changes: Sequence[StateChange],
        members: Sequence[MemberRow | UserID],
    ) -> None:
        """The same for changes that the room's memory has followed."""
        room_id = pending.room.room_id
        self._rooms.add_state_changes(pending.batch, position, room_id, changes)
        set_to: list[MemberRow] = []
        for member in members:
            if isinstance(member, str):
                self._rooms.drop_membership(pending.batch, member, room_id)
            else:
                set_to.append(member)
        self._rooms.set_memberships(pending.batch, room_id, position, set_to)

    def redact(self, pending: Pending, target_id: EventID, redaction_id: EventID) -> None:
        """Serve the target in redacted form once `pending` is durable."""
        self._events.redact(pending.batch, target_id, redaction_id)
        pending.redacted.append(target_id)

    def submit(self, pending: Pending) -> None:
        """Hand the batch to the writer, behind everything that was submitted before."""
        room = pending.room
        if pending.groups and room.group is pending.groups[-1]:
            self._rooms.set_state_group(pending.batch, room.room_id, room.group.number)
        room.under_way += 1
        self._reads.under_way(pending.rows, pending.groups)
        self._writer.submit(pending.batch, chain=room.room_id).addCallbacks(
            self._committed,
            self._failed,
            callbackArgs=(pending, room.group, room.extremities),
            errbackArgs=(pending,),
        )

    def queue_event(self, pending: Pending, event: Event, changes: Sequence[StateChange]) -> None:
        """Let observers add their rows for an event from elsewhere."""
        for observer in self._observers:
            observer.event_queued(event, pending.batch, changes)

    def forward(self, pending: Pending, position: int, servers: Sequence[ServerName]) -> None:
        """Other servers must get the event at `position` from us."""
        if servers:
            self._rooms.add_outbound(pending.batch, position, servers)
            pending.servers.update(servers)

    def _add_outbound(
        self, pending: Pending, position: int, event: Event, servers_before: tuple[ServerName, ...]
    ) -> None:
        # A server hears of the event with which its last user leaves; one that is invited gets the event by
        # the invite itself.
        servers = pending.room.server_list()
        if servers is not servers_before:
            servers = tuple(sorted({*servers, *servers_before}))
        if event.membership in ("leave", "ban"):
            # The rules let a ban name anything.
            with suppress(InvalidIdentifier):
                target_server = server_name_of(parse_user_id(event.state_key))
                if target_server not in servers:
                    servers = tuple(sorted((*servers, target_server)))
        self.forward(pending, position, [server for server in servers if server != self._server_name])

    def _committed(
        self, _: None, pending: Pending, group: StateGroup, extremities: tuple[EventID, ...]
    ) -> None:
        room = pending.room
        room.under_way -= 1
        room.durable = group.state
        room.durable_extremities = extremities
        for state_group in pending.groups:
            self._states.remember(state_group)
        for row in pending.rows:
            self._events.remember(row)
        for event_id in pending.redacted:
            self._events.forget(event_id)
        self._reads.settled(pending.rows, pending.groups)
        for row in pending.rows:
            self._stream.committed(row.position)
        pending.done.callback(None)
        told = self._told_of_withheld if pending.local else []
        if pending.announced:
            told = [observer.event_committed for observer in self._observers]
        for row, changes in zip(pending.rows, pending.changes, strict=True):
            committed = CommittedEvent(row, changes, pending.local)
            for tell in told:
                with log.failuresHandled("an observer failed on a committed event"):
                    tell(committed)
        if pending.servers:
            self._wake_federation(sorted(pending.servers))

    def _failed(self, failure: Failure, pending: Pending) -> None:
        pending.room.under_way -= 1
        self._reads.settled(pending.rows, pending.groups)
        self._on_failed(pending.room.room_id)
        if pending.announced:
            for row in pending.rows:
                for observer in self._observers:
                    with log.failuresHandled("an observer failed on an event that was not stored"):
                        observer.event_failed(row.event)
        pending.done.errback(failure)
