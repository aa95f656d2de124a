"""Puts the room service together from its parts: the one place that knows in which order they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from minihs.events.ids import ServerName
from minihs.events.signatures import Signer
from minihs.homeserver.rooms.branches import RoomBranches
from minihs.homeserver.rooms.building import EventBuilding
from minihs.homeserver.rooms.commits import RoomCommits
from minihs.homeserver.rooms.memory import RoomMemories
from minihs.homeserver.rooms.placement import RoomPlacement
from minihs.homeserver.rooms.purging import RoomPurges
from minihs.homeserver.rooms.redactions import RoomRedactions
from minihs.homeserver.rooms.rehearsal import RehearsedRooms
from minihs.homeserver.rooms.service import Rooms
from minihs.homeserver.rooms.states import RoomStates
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.rooms.judge import THE_RULES, Judge
from minihs.store.events import EventStore
from minihs.store.purges import PurgeStore
from minihs.store.reader import Reader
from minihs.store.rooms import RoomStore
from minihs.store.state import StateStore
from minihs.store.streams import Stream
from minihs.store.writer import Writer

ROOMS_IN_MEMORY = 1_000


class RoomService(msgspec.Struct, frozen=True, kw_only=True):
    """The room service and what others read beside it; `rehearsed` are `RehearsedRooms`."""

    rooms: Rooms
    rehearsed: Rooms
    memories: RoomMemories
    purges: RoomPurges
    events: EventStore
    stream: Stream


async def open_room_service(
    *,
    reader: Reader,
    writer: Writer,
    signer: Signer,
    clock: Clock,
    entropy: Entropy,
    wake_federation: Callable[[Sequence[ServerName]], None],
    judge: Judge = THE_RULES,
    purge_after_ms: int | None = None,
) -> RoomService:
    """The room service over a database, with its counters set after what is stored."""
    events = EventStore(reader)
    lowest, highest = await events.positions()
    state_groups = await StateStore.open(reader)
    room_store = RoomStore(reader)
    await room_store.load()
    stream = Stream(highest)
    states = RoomStates(events, state_groups)
    memories = RoomMemories(room_store, events, state_groups, capacity=ROOMS_IN_MEMORY)
    commits = RoomCommits(
        server_name=signer.server_name,
        writer=writer,
        rooms=room_store,
        events=events,
        states=state_groups,
        reads=states,
        stream=stream,
        lowest_position=lowest,
        on_failed=memories.drop,
        wake_federation=wake_federation,
    )
    redactions = RoomRedactions(states)
    building = EventBuilding(signer=signer, clock=clock, states=states, judge=judge)
    branches = RoomBranches(states)
    placement = RoomPlacement(
        server_name=signer.server_name,
        clock=clock,
        writer=writer,
        rooms=room_store,
        events=events,
        state_groups=state_groups,
        memories=memories,
        states=states,
        branches=branches,
        redactions=redactions,
        commits=commits,
    )
    rooms, rehearsed = (
        kind(
            signer=signer,
            clock=clock,
            entropy=entropy,
            memories=memories,
            states=states,
            branches=branches,
            redactions=redactions,
            commits=commits,
            placement=placement,
            building=building,
        )
        for kind in (Rooms, RehearsedRooms)
    )
    purges = RoomPurges(
        clock=clock,
        writer=writer,
        store=PurgeStore(reader, signer.server_name),
        memories=memories,
        events=events,
        stream=stream,
        after_ms=purge_after_ms,
    )
    return RoomService(
        rooms=rooms, rehearsed=rehearsed, memories=memories, purges=purges, events=events, stream=stream
    )
