"""Questions to other servers about rooms that need no event to be judged: space trees, events by time.

Answers are bounded, and whatever in them has the wrong shape is left out. Source: Server-Server API, "Spaces"
and "Retrieving events".
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec

from minihs.events.canonical import MAX_INTEGER
from minihs.events.ids import EventID, InvalidIdentifier, RoomID, ServerName, parse_event_id, parse_room_id
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.remote_rooms import QUICK_MS, SMALL_BYTES, V1, Client
from minihs.rooms.spaces import SPACE, ChildLink, SpaceChild, children_of
from minihs.rooms.summary import RoomSummary

HIERARCHY_BYTES = 1 << 20
MAX_CHILDREN = 1_000
"""Children of one space that count, in its order."""

Direction = Literal["f", "b"]
Shape = TypeVar("Shape")


class ToldRoom(msgspec.Struct, frozen=True):
    """A room as another server sums it up, and what it says that a space holds."""

    summary: RoomSummary
    children: tuple[ChildLink, ...]


class ToldSpace(msgspec.Struct, frozen=True):
    """The answer to `/hierarchy`: the room, its children as far as the other server is in them, and those
    into which it says that nobody of our server can get."""

    room: ToldRoom
    children: dict[RoomID, ToldRoom]
    inaccessible: frozenset[RoomID]


class FoundEvent(msgspec.Struct, frozen=True):
    """The event that another server has nearest to a moment."""

    event_id: EventID
    origin_server_ts: int


class _Hierarchy(msgspec.Struct, frozen=True):
    room: dict[str, Any]
    children: list[Any]
    inaccessible_children: list[Any] = []


class RemoteLookups:
    """Asks. Every method raises `RemoteRefusal` when the server said no, and `Unreachable` when it could not
    be asked or its answer makes no sense."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def hierarchy(self, server: ServerName, room_id: RoomID) -> ToldSpace:
        """`GET /hierarchy`: a room, and its children when it is a space."""
        answer = await self._client.get_shaped(
            _Hierarchy,
            server,
            f"{V1}/hierarchy/{quote(room_id, safe='')}",
            {"suggested_only": "false"},
            timeout_ms=QUICK_MS,
            max_bytes=HIERARCHY_BYTES,
        )
        room = _told(answer.room)
        if room is None or room.summary.room_id != room_id:
            raise Unreachable(f"{server} was asked about {room_id} and summed up something else.")
        named = {link.room_id for link in room.children}  # about other rooms it was not asked
        children: dict[RoomID, ToldRoom] = {}
        for entry in answer.children[:MAX_CHILDREN]:
            child = _told(entry)
            if child is not None and child.summary.room_id in named:
                children.setdefault(child.summary.room_id, child)
        closed = {entry for entry in answer.inaccessible_children[:MAX_CHILDREN] if isinstance(entry, str)}
        inaccessible = frozenset(room_id for room_id in named if room_id in closed) - children.keys()
        return ToldSpace(room, children, inaccessible)

    async def timestamp_to_event(
        self, server: ServerName, room_id: RoomID, ts: int, direction: Direction
    ) -> FoundEvent | None:
        """`GET /timestamp_to_event`: the nearest event in one direction; None when the server has none."""
        try:
            answer = await self._client.get(
                server,
                f"{V1}/timestamp_to_event/{quote(room_id, safe='')}",
                {"ts": str(ts), "dir": direction},
                timeout_ms=QUICK_MS,
                max_bytes=SMALL_BYTES,
            )
        except RemoteRefusal as refusal:
            if refusal.status == 404:
                return None
            raise
        try:
            found = msgspec.convert(answer, FoundEvent)
            parse_event_id(found.event_id)
        except (msgspec.ValidationError, InvalidIdentifier) as error:
            raise Unreachable(f"{server} answered with something of the wrong shape: {error}") from error
        if not 0 <= found.origin_server_ts <= MAX_INTEGER or not is_towards(
            found.origin_server_ts, ts, direction
        ):
            raise Unreachable(f"{server} was asked for an event {direction} of {ts} and named another.")
        return found


def is_towards(event_ts: int, ts: int, direction: Direction) -> bool:
    """Whether an event's time lies in this direction of a moment, or is that moment."""
    return event_ts >= ts if direction == "f" else event_ts <= ts


def _told(entry: object) -> ToldRoom | None:
    summary = _shaped(entry, RoomSummary)
    if summary is None or _room_id(summary.room_id) is None or summary.num_joined_members < 0:
        return None
    told = entry.get("children_state") if isinstance(entry, dict) else None
    listed = told[:MAX_CHILDREN] if isinstance(told, list) and summary.room_type == SPACE else []
    events = [event for item in listed if (event := _shaped(item, SpaceChild)) is not None]
    return ToldRoom(summary, children_of(events, suggested_only=False, limit=MAX_CHILDREN))


def _shaped(value: object, shape: type[Shape]) -> Shape | None:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return None


def _room_id(value: object) -> RoomID | None:
    try:
        return parse_room_id(value)
    except InvalidIdentifier:
        return None
