"""What judging events of other servers needs of this server's rooms, as a protocol and nothing else.

The room service, wrapped by `homeserver.inbound_rooms`, is the real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.events.versions import RoomVersion
from minihs.rooms.state_map import StateMap
from minihs.store.along import Along
from minihs.store.events import EventRow, Standing


class CannotDecide(Exception):
    """What is needed to judge an event could not be had; nothing is kept of it."""


class Receiver(Protocol):
    """The rooms of this server. Everything includes what is still being written."""

    async def rows(self, event_ids: Iterable[EventID]) -> Mapping[EventID, EventRow]:
        """Those of the events that are known, outliers and rejected ones too, in the order asked for."""

    async def extremities(self, room_id: RoomID) -> tuple[EventID, ...]:
        """The room's forward extremities."""

    async def lowest_depth(self, room_id: RoomID) -> int:
        """The lowest depth of any accepted event of the room: where our part of its history begins."""

    async def newest_state(self, room_id: RoomID) -> StateMap:
        """The room's current state."""

    async def state_of_prevs(self, room_id: RoomID, prev_events: Sequence[EventID]) -> StateMap | None:
        """The state before an event with these previous events; None when one is missing.

        Raises CannotDecide when the branches cannot be resolved with what is here.
        """

    async def opens_one_branch_too_many(self, event: Event) -> bool:
        """Whether the event forks its room beyond what its server may leave open."""

    async def resolve(self, version: RoomVersion, forks: Sequence[StateMap]) -> StateMap:
        """State resolution; raises CannotDecide as `state_of_prevs` does."""

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
        """Keep an event; in place when this returns, durable when the Deferred fires.

        With `forward_from` it is passed on to all servers in the room but that one. `along` is stored with
        it if it is accepted.
        """

    async def store_outliers(self, events: Sequence[tuple[Event, str | None]]) -> None:
        """Keep events without a place, each with why it was refused or None; durable when this returns."""


async def unknown_among(
    receiver: Receiver, event_ids: Iterable[EventID], *, or_outlier: bool = False
) -> list[EventID]:
    """Those that are not known (or only as outliers), each once, in the order given."""
    wanted = list(dict.fromkeys(event_ids))
    rows = await receiver.rows(wanted)
    return [
        event_id
        for event_id in wanted
        if event_id not in rows or (or_outlier and rows[event_id].standing.is_outlier)
    ]
