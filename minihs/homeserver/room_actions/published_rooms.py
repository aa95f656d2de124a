"""The published room directory: which rooms are in it, and its pages.

Ours for everybody, other servers' through `RemoteDirectory`. Source: Client-Server API, "Published room
directory"; Server-Server API, "Published Room Directory".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.homeserver.elsewhere.protocols import RemoteDirectory
from minihs.homeserver.errors import Forbidden, InvalidParam, UnknownRoom
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.rooms.service import Rooms
from minihs.store.directory import DirectoryStore, PublishedRoom
from minihs.store.writer import Batch, Writer

DEFAULT_PAGE = 100
MAX_PAGE = 500


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Which published rooms are wanted.

    `room_types` of None takes every room; a None inside it takes rooms without a type. `limit` of 0 means
    the default.
    """

    limit: int = 0
    since: str | None = None
    term: str | None = None
    room_types: Sequence[str | None] | None = None

    def as_body(self) -> dict[str, Any]:
        """The same as the body of `POST /publicRooms`, for another server."""
        wanted: dict[str, Any] = {}
        if self.term is not None:
            wanted["generic_search_term"] = self.term
        if self.room_types is not None:
            wanted["room_types"] = list(self.room_types)
        body: dict[str, Any] = {"limit": self.limit or DEFAULT_PAGE}
        if self.since is not None:
            body["since"] = self.since
        if wanted:
            body["filter"] = wanted
        return body


class _Place(msgspec.Struct, frozen=True):
    """A place in the order of the directory, between two rooms. Survives rooms that come and go."""

    backwards: bool
    joined_members: int
    room_id: RoomID

    @property
    def key(self) -> tuple[int, str]:
        return (-self.joined_members, self.room_id)

    def token(self) -> str:
        packed = msgspec.json.encode([self.backwards, self.joined_members, self.room_id])
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")

    @classmethod
    def parse(cls, token: str) -> _Place:
        try:
            packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            return cls(*msgspec.json.decode(packed, type=tuple[bool, int, str]))  # type: ignore[arg-type]
        except (binascii.Error, ValueError) as error:
            raise InvalidParam("since must be a token from an earlier answer.") from error


class PublishedRooms:
    """Reads and changes the published room directory."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        store: DirectoryStore,
        writer: Writer,
        rooms: Rooms,
        directory: Directory,
        summaries: RoomSummaries,
        remote: RemoteDirectory,
    ) -> None:
        self._server_name = server_name
        self._store = store
        self._writer = writer
        self._rooms = rooms
        self._directory = directory
        self._summaries = summaries
        self._remote = remote

    async def is_published(self, room_id: RoomID) -> bool:
        """Whether the room is in the directory; UnknownRoom when there is no such room."""
        published = await self._store.is_published(room_id)
        if published is None:
            raise UnknownRoom(f"This server does not know the room {room_id}.")
        return published

    async def publish(
        self, room_id: RoomID, published: bool, publisher: UserID, *, is_admin: bool = False
    ) -> None:
        """Put a room in or take it out: administrators, and whoever may set the room's canonical alias."""
        if await self.is_published(room_id) == published and is_admin:
            return
        if not is_admin and not await self._directory.may_set_canonical_alias(room_id, publisher):
            raise Forbidden("You need the power to set the room's canonical alias.")
        batch = Batch()
        self._store.set_published(batch, room_id, published)
        await self._writer.submit(batch)

    async def page(self, search: Search, server: ServerName | None = None) -> Mapping[str, Any]:
        """One page of this server's directory, or of another's, in the shape of `/publicRooms`."""
        if server is not None and server != self._server_name:
            return await self._remote.public_rooms(server, search.as_body())
        return await self.local_page(search)

    async def local_page(self, search: Search) -> Mapping[str, Any]:
        """One page of our directory, the largest rooms first."""
        limit = min(search.limit or DEFAULT_PAGE, MAX_PAGE)
        place = None if search.since is None else _Place.parse(search.since)
        published = await self._store.all_published()
        total = len(published)
        before, after = _split(published, place)
        if place is not None and place.backwards:
            found, more = await self._take(list(reversed(before)), search, limit)
            found.reverse()
            earlier, later = more, bool(after)
        else:
            found, more = await self._take(after, search, limit)
            earlier, later = bool(before), more
        page: dict[str, Any] = {"chunk": [entry for _, entry in found], "total_room_count_estimate": total}
        if later and found:
            last = found[-1][0]
            page["next_batch"] = _Place(False, last.joined_members, last.room_id).token()
        if earlier and found:
            first = found[0][0]
            page["prev_batch"] = _Place(True, first.joined_members, first.room_id).token()
        return page

    async def _take(
        self, candidates: Sequence[PublishedRoom], search: Search, limit: int
    ) -> tuple[list[tuple[PublishedRoom, dict[str, Any]]], bool]:
        found: list[tuple[PublishedRoom, dict[str, Any]]] = []
        for candidate in candidates:
            if not await self._rooms.is_resident(candidate.room_id):
                continue  # nobody of ours is in it any more: what we know of it is old
            entry = await self._entry(candidate)
            if not _matches(entry, search):
                continue
            if len(found) == limit:
                return found, True
            found.append((candidate, entry))
        return found, False

    async def _entry(self, room: PublishedRoom) -> dict[str, Any]:
        summary = await self._summaries.of(room.room_id)
        entry = {key: value for key in _SHOWN if (value := getattr(summary, key)) is not None}
        return {**entry, "num_joined_members": room.joined_members}


_SHOWN = (
    "room_id",
    "world_readable",
    "guest_can_join",
    "name",
    "topic",
    "canonical_alias",
    "avatar_url",
    "join_rule",
    "room_type",
)
"""What of a summary stands in a list of published rooms."""


def _split(
    published: Sequence[PublishedRoom], place: _Place | None
) -> tuple[list[PublishedRoom], list[PublishedRoom]]:
    """What lies before and after a place. A forward place is after its room, a backward one before it."""
    if place is None:
        return [], list(published)
    keys = [(-room.joined_members, room.room_id) for room in published]
    if place.backwards:
        cut = sum(key < place.key for key in keys)
    else:
        cut = sum(key <= place.key for key in keys)
    return list(published[:cut]), list(published[cut:])


def _matches(entry: Mapping[str, Any], search: Search) -> bool:
    if search.room_types is not None and entry.get("room_type") not in search.room_types:
        return False
    if not search.term:
        return True
    term = search.term.casefold()
    return any(term in entry.get(key, "").casefold() for key in ("name", "topic", "canonical_alias"))
