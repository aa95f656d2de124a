"""What one server believes of one room: its events with their standing, its state, its extremities.

Read from the database, so that a server that is down can be looked at, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.model import Future
from minihs.lab.watching import describe, short
from minihs.store.events import EventRow, EventStore, Standing
from minihs.store.futures import FutureStore
from minihs.store.reader import Reader
from minihs.store.rooms import RoomStore
from minihs.store.state import StateStore

if TYPE_CHECKING:
    from minihs.lab.servers import LabServer


class RoomView(msgspec.Struct, frozen=True):
    """A room as a server has it now. `events` are in order of depth."""

    server: str
    room_id: str
    events: tuple[EventRow, ...]
    state: dict[StateKey, EventID]
    extremities: tuple[EventID, ...]

    def standing(self, event_id: str) -> str:
        """What the server thinks of an event: `accepted`, `soft-failed`, `rejected`, `outlier`, `unknown`."""
        for row in self.events:
            if row.event.event_id == event_id:
                return standing_word(row.standing)
        return "unknown"

    def row(self, event_id: str) -> EventRow | None:
        """An event with its standing."""
        return next((row for row in self.events if row.event.event_id == event_id), None)

    def text(self) -> str:
        """The view in lines: state that differs from nothing, and the tips."""
        lines = [f"{self.server} has {len(self.events)} events of {self.room_id}:"]
        for row in self.events:
            mark = "" if row.standing is Standing.ACCEPTED else f"  [{standing_word(row.standing)}]"
            current = row.event.state_key is not None and self.state.get(row.event.key) == row.event.event_id
            tip = "  ← tip" if row.event.event_id in self.extremities else ""
            lines.append(f"  {'•' if current else ' '} {describe(row.event)}{mark}{tip}")
        return "\n".join(lines)

    def to_ndjson(self) -> bytes:
        """The graph as TARDIS reads it: one PDU on each line with its event ID, causes before effects."""
        encoder = msgspec.json.Encoder(order="deterministic")
        return encoder.encode_lines(
            {"event_id": row.event.event_id, **row.event.pdu}
            for row in self.events
            if not row.standing.is_outlier
        )

    def to_json(self) -> dict[str, Any]:
        """The view for reports: graph, state and tips."""
        return {
            "server": self.server,
            "room_id": self.room_id,
            "extremities": sorted(self.extremities),
            "state": {f"{key[0]}|{key[1]}": self.state[key] for key in sorted(self.state)},
            "events": [
                {
                    "event_id": row.event.event_id,
                    "what": describe(row.event),
                    "depth": row.event.depth,
                    "prev_events": list(row.event.prev_events),
                    "standing": standing_word(row.standing),
                    "refusal": row.refusal,
                }
                for row in self.events
            ],
        }


def standing_word(standing: Standing) -> str:
    """A standing as it is written in reports."""
    return standing.name.lower().replace("_", "-")


class Viewed(Protocol):
    """A server of a world, virtual or real."""

    name: str

    def room_view(self, room_id: str) -> RoomView | None: ...


def view_of(server: Viewed, room_id: str) -> RoomView | None:
    """What the server believes of the room; None when it does not know it."""
    return server.room_view(room_id)


def read_view(server: str, reader: Reader, room_id: str) -> RoomView | None:
    """The same, from a database of ours."""
    rooms = RoomStore(reader)
    row = reader.now(rooms.maybe_room(RoomID(room_id)))
    if row is None:
        return None
    states = reader.now(StateStore.open(reader))
    group = reader.now(states.one_group(row.state_group))
    return RoomView(
        server,
        room_id,
        tuple(reader.now(EventStore(reader).all_in_room(RoomID(room_id)))),
        dict(group.state.items()),
        tuple(reader.now(rooms.all_extremities(RoomID(room_id)))),
    )


def rooms_of(server: LabServer) -> list[RoomView]:
    """What the server believes of every room that it knows."""
    reader = server.database.reader
    rooms = reader.now(RoomStore(reader).all_rooms())
    return [view for room_id in rooms if (view := view_of(server, room_id)) is not None]


def futures_of(server: LabServer, room_id: str) -> list[Future]:
    """Every future for a room that the server knows yet, waiting or finalised."""
    reader = server.database.reader
    found: list[Future] = reader.now(FutureStore(reader).all_of_room(RoomID(room_id)))
    return found


def scheduled_futures(server: LabServer) -> int:
    """How many futures wait on the server."""
    reader = server.database.reader
    total: int = reader.now(FutureStore(reader).one_total())
    return total


def newest_future(server: LabServer, owner: str, dialect: str) -> str | None:
    """The public ID of what somebody scheduled last and is to be sent when its time has come, whether its
    dialect tells it or not."""
    reader = server.database.reader
    stored = reader.now(FutureStore(reader).all_scheduled(UserID(owner), [dialect]))
    timed = [each.future for each in stored if each.future.timeout_ms is not None]
    return max(timed, key=lambda future: future.id).delay_id if timed else None


def future_on(server: LabServer, delay_id: str) -> Future | None:
    """A future as its server has it; None when it is forgotten."""
    reader = server.database.reader
    row = reader.now(FutureStore(reader).maybe_future(delay_id))
    return None if row is None else row.future


def differences(views: Sequence[RoomView]) -> list[str]:
    """Where the current states of servers differ, in words; empty when they agree."""
    told = []
    for key in sorted({key for view in views for key in view.state}):
        ids = {view.server: view.state.get(key) for view in views}
        if len(set(ids.values())) > 1:
            each = ", ".join(
                f"{server} has {'nothing' if event_id is None else short(event_id)}"
                for server, event_id in ids.items()
            )
            told.append(f"{key[0]} {key[1]!r}: {each}".replace(" ''", ""))
    return told
