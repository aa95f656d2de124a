"""The room service: build, authorise, persist, notify. Every event of every room goes through here.

An event of our own is built on the room's memory, which runs ahead of the disk, in one go without giving
control away; it is shown to nobody before its batch is durable. An event from elsewhere comes with the
verdict of the receipt checks and the state before it, and is placed in the graph under the room's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.events.signatures import Signer
from minihs.events.versions import RoomVersion
from minihs.homeserver.errors import NotFound, Unavailable, UnknownRoom
from minihs.homeserver.rooms.branches import RoomBranches
from minihs.homeserver.rooms.building import EventBuilding, Judged
from minihs.homeserver.rooms.commits import (
    CommittedEvent,
    Pending,
    RoomCommits,
    RoomObserver,
    StatePreparation,
)
from minihs.homeserver.rooms.drafts import EventDraft, own_room_id
from minihs.homeserver.rooms.memory import RoomMemories, RoomMemory
from minihs.homeserver.rooms.placement import RoomPlacement
from minihs.homeserver.rooms.redactions import RoomRedactions
from minihs.homeserver.rooms.states import RoomStates
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.rooms.auth import needed_state
from minihs.rooms.power import CREATE, POWER_LEVELS, PowerLevels
from minihs.rooms.state_map import StateMap
from minihs.store.along import Along, Also
from minihs.store.events import EventRow, Standing, StoredPDU
from minihs.store.state import StateGroup
from minihs.store.writer import BatchFailed

__all__ = ["CommittedEvent", "EventDraft", "RoomObserver", "Rooms"]


class Rooms:
    """The rooms of this server.

    Errors of every method: UnknownRoom for a room that this server does not know; Forbidden with the number
    of the broken rule; BadContent and TooLarge for what can be no event; Unavailable when the room had to be
    reloaded because an earlier write failed.
    """

    def __init__(
        self,
        *,
        signer: Signer,
        clock: Clock,
        entropy: Entropy,
        memories: RoomMemories,
        states: RoomStates,
        branches: RoomBranches,
        redactions: RoomRedactions,
        commits: RoomCommits,
        placement: RoomPlacement,
        building: EventBuilding,
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._entropy = entropy
        self._memories = memories
        self._states = states
        self._branches = branches
        self._redactions = redactions
        self._commits = commits
        self._placement = placement
        self._building = building

    def observe(self, observer: RoomObserver) -> None:
        """Tell `observer` of every accepted event: while its batch is open, and when it is durable."""
        self._commits.observe(observer)

    def observe_withheld(self, told: Callable[[CommittedEvent], None]) -> None:
        """Call `told` for each event of our own that is durable and shown to nobody (see `Reach`)."""
        self._commits.observe_withheld(told)

    def prepare_state(self, preparation: StatePreparation) -> None:
        """Ask `preparation` before each state event gets its place, in rooms that exist already."""
        self._commits.prepare_state(preparation)

    # Reading

    async def version_of(self, room_id: RoomID) -> RoomVersion:
        """The room's version."""
        return (await self._memories.one(room_id)).version

    async def current_state(self, room_id: RoomID) -> StateMap:
        """The durable current state."""
        return (await self._memories.one(room_id)).durable

    async def newest_state(self, room_id: RoomID) -> StateMap:
        """The current state with what is still being written: what events from elsewhere are judged by."""
        return (await self._memories.one(room_id)).state

    async def state_event(self, room_id: RoomID, event_type: str, state_key: str = "") -> Event | None:
        """One event of the durable current state."""
        event_id = (await self._memories.one(room_id)).durable.get((event_type, state_key))
        return None if event_id is None else await self._event(event_id)

    async def state_events(self, room_id: RoomID, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        """Several events of the durable current state; keys that are not set are absent."""
        state = (await self._memories.one(room_id)).durable
        wanted = {key: state[key] for key in keys if key in state}
        events = await self._states.events(wanted.values())
        return {key: events[event_id] for key, event_id in wanted.items()}

    async def power_levels(self, room_id: RoomID) -> PowerLevels:
        """Who may do what in the room."""
        found = await self.state_events(room_id, (CREATE, POWER_LEVELS))
        version = await self.version_of(room_id)
        return PowerLevels.of(found, version)

    async def joined_users(self, room_id: RoomID) -> tuple[UserID, ...]:
        """Who is joined, sorted; includes what is still being written."""
        return tuple(sorted((await self._memories.one(room_id)).joined))

    async def joined_count(self, room_id: RoomID) -> int:
        """How many users are joined; includes what is still being written."""
        return len((await self._memories.one(room_id)).joined)

    async def joined_servers(self, room_id: RoomID) -> tuple[ServerName, ...]:
        """Servers with a joined user, sorted."""
        return (await self._memories.one(room_id)).server_list()

    async def is_resident(self, room_id: RoomID) -> bool:
        """Whether a user of this server is joined; False for unknown rooms."""
        try:
            return self._signer.server_name in (await self._memories.one(room_id)).servers
        except UnknownRoom:
            return False

    async def extremities(self, room_id: RoomID) -> tuple[EventID, ...]:
        """The durable forward extremities."""
        return (await self._memories.one(room_id)).durable_extremities

    async def lowest_depth(self, room_id: RoomID) -> int:
        """The lowest depth of any accepted event of the room that is stored; 0 when there is none."""
        return await self._states.lowest_depth(room_id)

    async def row(self, event_id: EventID) -> EventRow | None:
        """An event and its standing, also while it is being written."""
        return await self._states.maybe_row(event_id)

    async def rows(self, event_ids: Iterable[EventID]) -> dict[EventID, EventRow]:
        """Several events and their standing, also while they are being written, in the order asked for."""
        return await self._states.rows(event_ids)

    async def pdus(self, event_ids: Sequence[EventID]) -> dict[EventID, StoredPDU]:
        """Several events as other servers get them, also those being written, in the order asked for."""
        return await self._states.pdus(event_ids)

    async def state_before(self, event_id: EventID) -> StateMap | None:
        """The state before the event; None when it is not known."""
        row = await self._states.maybe_row(event_id)
        if row is None or row.before_group is None:
            return None
        return (await self._states.group(row.before_group)).state

    async def state_after(self, event_id: EventID) -> StateMap | None:
        """The state after the event; None when it is not known."""
        row = await self._states.maybe_row(event_id)
        if row is None or row.after_group is None:
            return None
        return (await self._states.group(row.after_group)).state

    async def state_of_prevs(self, room_id: RoomID, prev_events: Sequence[EventID]) -> StateMap | None:
        """The state before an event with these previous events; None when one of them is missing here.

        Raises IncompleteHistory when a resolution needs events that are not here.
        """
        room = await self._memories.one(room_id)
        if frozenset(prev_events) == frozenset(room.extremities):
            return room.state
        groups = await self._states.groups_after(room_id, prev_events)
        if not groups:
            return None
        return await self._states.resolve(room.version, [group.state for group in groups])

    async def opens_one_branch_too_many(self, event: Event) -> bool:
        """Whether an event that is not placed yet forks its room beyond what its server may leave open."""
        return await self._branches.is_one_too_many(await self._memories.one(event.room_id), event)

    async def resolve(self, version: RoomVersion, forks: Sequence[StateMap]) -> StateMap:
        """State resolution over events that are stored here."""
        return await self._states.resolve(version, forks)

    # Events of our own

    async def send(self, draft: EventDraft, *, also: Also | None = None) -> Event:
        """Build, authorise, sign and store one event; durable when this returns.

        `also(batch, event)` adds rows that are stored with the event or not at all.
        """
        return (await self.send_all((draft,), also=also))[0]

    async def send_all(self, drafts: Sequence[EventDraft], *, also: Also | None = None) -> list[Event]:
        """Like `send` for several events of one room: all or none; `also` is called for each."""
        while True:
            room = await self._memories.one(drafts[0].room_id)
            targets = await self._redaction_targets(room, drafts)
            await self._building.load_auth_events(room, drafts)
            if room.lock.locked:
                await room.lock.acquire()
                room.lock.release()
            elif not room.stale:
                reading = self._commits.must_read(
                    room.room_id, [(draft.type, draft.state_key) for draft in drafts]
                )
                if reading is None:
                    return await self._durable(self._append(Pending(room, local=True), drafts, targets, also))
                await reading

    async def create(
        self,
        version: RoomVersion,
        creator: UserID,
        create_content: Mapping[str, Any],
        drafts: Callable[[RoomID], Sequence[EventDraft]],
        *,
        also: Also | None = None,
    ) -> RoomID:
        """Create a room with its first events, in one batch; returns its ID when all is durable.

        `drafts` is called with the room's ID for the events after `m.room.create`.
        """
        room_id = own_room_id(version, self._signer.server_name, self._entropy)
        origin_server_ts = self._clock.wall_ms()
        while True:
            draft = EventDraft(
                room_id=room_id or RoomID(""),
                sender=creator,
                type="m.room.create",
                content=create_content,
                state_key="",
                origin_server_ts=origin_server_ts,
            )
            create = self._building.create_event(version, draft)
            known = await self._memories.maybe(create.room_id)
            if known is None and self._memories.maybe_loaded(create.room_id) is None:
                break
            # Since version 12 the same creator, content and time make the same room.
            origin_server_ts += 1
        self._building.judge(create, {}).allowed()
        room = self._new_room(version, create)
        pending = Pending(room, local=True)
        self._commits.begin_room(pending, create, also)
        following = drafts(room.room_id)
        self._memories.put(room)
        try:
            self._append(pending, following, {}, also)
        except BaseException:
            self._memories.drop(room.room_id)
            raise
        await self._durable(pending)
        return room.room_id

    async def release(self, event_id: EventID) -> Event:
        """Show a withheld event (see `Reach`) to everybody, as if another server had sent it just now;
        durable when this returns.

        It is authorised again, by the state of now; Forbidden leaves it withheld. NotFound when no event of
        that ID is withheld, or a redaction has taken its content.
        """
        row = await self._states.maybe_row(event_id)
        if row is None or row.standing is not Standing.SOFT_FAILED or row.redacted_by is not None:
            raise NotFound(f"The event {event_id} is not withheld.")
        event = row.event
        keys = needed_state(event.type, event.sender, event.state_key, event.content, event.version)
        state = await self.state_events(event.room_id, (CREATE, *keys))
        self._building.judge(event, state, was_future=True).allowed()
        await (await self._placement.release(row))
        return event

    async def build(self, draft: EventDraft) -> Event:
        """Build, sign and authorise an event on the current state without storing it (invites over
        federation are signed by the other server first; see `receive`)."""
        return (await self.judged(draft)).allowed()

    async def judged(self, draft: EventDraft) -> Judged:
        """What the auth rules would say of the event now; nothing is stored."""
        room = await self._memories.one(draft.room_id)
        await self._building.load_auth_events(room, (draft,))
        return self._building.judged(room, draft)

    # Events from elsewhere

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
        """Place an event in the graph; returns when memory has it, with a Deferred for its being durable.

        With `forward_from`, the event is passed on to all servers in the room but that one (what a resident
        server does with the joins, leaves and knocks of others). `along` is stored with it if it is accepted.
        """
        return await self._placement.receive(event, state_before, standing, refusal, forward_from, along)

    async def adopt(
        self,
        version: RoomVersion,
        join_event: Event,
        state_before: StateMap,
        outliers: Sequence[Event],
        *,
        along: Along | None = None,
    ) -> None:
        """Enter a room through another server: from now on it stands as `state_before` and `join_event` say.

        `outliers` are the auth chain and the state as the other server sent them, checked. `along` is stored
        with the join.
        """
        await (await self._placement.adopt(version, join_event, state_before, outliers, along))

    async def store_outliers(self, events: Sequence[tuple[Event, str | None]]) -> None:
        """Store events without their place in the graph; each with the reason for its rejection, or None."""
        await self._placement.store_outliers(events)

    async def store_history(self, events: Sequence[tuple[Event, StateMap]]) -> None:
        """Store accepted events from before our time, newest first, each with the state before it."""
        await self._placement.store_history(events)

    # Inside

    async def _event(self, event_id: EventID) -> Event | None:
        row = await self._states.maybe_row(event_id)
        return None if row is None else row.event

    def _append(
        self,
        pending: Pending,
        drafts: Sequence[EventDraft],
        targets: Mapping[EventID | None, EventRow],
        also: Also | None,
    ) -> Pending:
        """Build `drafts` on the room and submit them, without giving control away."""
        room = pending.room
        checkpoint = room.checkpoint() if len(drafts) > 1 else None
        try:
            for draft in drafts:
                event = self._building.judged(room, draft).allowed()
                self._commits.append(pending, event, draft, targets.get(draft.redacts), also)
        except BaseException:
            if checkpoint is not None:
                room.restore(checkpoint)
            raise
        self._commits.submit(pending)
        return pending

    async def _durable(self, pending: Pending) -> list[Event]:
        try:
            await pending.done
        except BatchFailed as failure:
            raise Unavailable("The event could not be stored. Please try again.") from failure
        return [row.event for row in pending.rows]

    def _new_room(self, version: RoomVersion, create: Event) -> RoomMemory:
        nothing = StateGroup(0, 0, StateMap())
        room = RoomMemory(
            room_id=create.room_id,
            version=version,
            group=nothing,
            extremities=(),
            depth=0,
            durable=nothing.state,
            durable_extremities=(),
        )
        room.remember((create,))
        return room

    async def _redaction_targets(
        self, room: RoomMemory, drafts: Sequence[EventDraft]
    ) -> dict[EventID | None, EventRow]:
        targets: dict[EventID | None, EventRow] = {}
        for draft in drafts:
            if draft.redacts is not None:
                target = await self._redactions.target_of(draft, room)
                if target is not None:
                    targets[draft.redacts] = target
        return targets
