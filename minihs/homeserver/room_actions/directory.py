"""Aliases: what they stand for, who may make and remove them, and which ones a room's state may list.

The list of published rooms is in `published_rooms`. Source: Client-Server API, "Room aliases", and
`m.room.canonical_alias`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minihs.events.ids import (
    InvalidIdentifier,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    localpart_of,
    parse_room_alias,
    server_name_of,
)
from minihs.homeserver.elsewhere.protocols import AliasTarget, RemoteDirectory
from minihs.homeserver.errors import AliasTaken, BadAlias, Forbidden, HomeserverError, InvalidParam, NotFound
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock
from minihs.store.directory import AliasRow, DirectoryStore
from minihs.store.memberships import MembershipStore
from minihs.store.writer import Batch, Writer

CANONICAL_ALIAS = "m.room.canonical_alias"
MAX_SERVERS = 20
"""How many servers an alias is resolved to: enough for a join, without listing all of a large room."""


class Directory:
    """The aliases of this server, and the way to those of others."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        store: DirectoryStore,
        memberships: MembershipStore,
        writer: Writer,
        rooms: Rooms,
        remote: RemoteDirectory,
        clock: Clock,
    ) -> None:
        self._server_name = server_name
        self._store = store
        self._memberships = memberships
        self._writer = writer
        self._rooms = rooms
        self._remote = remote
        self._clock = clock
        self._being_made: set[RoomAlias] = set()

    async def resolve(self, alias: RoomAlias) -> AliasTarget:
        """What the alias stands for, from its own server; NotFound when nothing."""
        if server_name_of(alias) == self._server_name:
            return await self.resolve_local(alias)
        target = await self._remote.resolve_alias(alias)
        if target is None:
            raise NotFound(f"There is no room with the alias {alias}.")
        return target

    async def resolve_local(self, alias: RoomAlias) -> AliasTarget:
        """What one of our aliases stands for (also the answer to other servers); NotFound when nothing."""
        row = await self._store.maybe_alias(alias)
        if row is None:
            raise NotFound(f"There is no room with the alias {alias}.")
        return AliasTarget(row.room_id, await self._servers_in(row.room_id))

    async def local_aliases(self, room_id: RoomID) -> list[RoomAlias]:
        """Our aliases of a room, in alphabetical order."""
        return list(await self._store.all_aliases(room_id))

    def check_local(self, alias: RoomAlias) -> None:
        """Raise InvalidParam unless the alias belongs to this server and has a name."""
        if server_name_of(alias) != self._server_name:
            raise InvalidParam(f"Only aliases that end in :{self._server_name} can be changed here.")
        if localpart_of(alias) == "":
            raise InvalidParam("An alias needs a name between # and the colon.")

    @contextmanager
    def claimed(self, alias: RoomAlias) -> Iterator[None]:
        """Keep two requests from making the same alias at the same time; AliasTaken for the second."""
        if alias in self._being_made:
            raise AliasTaken(f"The alias {alias} is being made by another request.")
        self._being_made.add(alias)
        try:
            yield
        finally:
            self._being_made.discard(alias)

    async def check_free(self, alias: RoomAlias) -> None:
        """Raise AliasTaken when the alias stands for a room."""
        if await self._store.maybe_alias(alias) is not None:
            raise AliasTaken(f"The alias {alias} stands for a room already.")

    def add_alias(self, batch: Batch, alias: RoomAlias, room_id: RoomID, creator: UserID) -> None:
        """Add the alias' row to a batch; the caller holds the claim and has checked that it is free."""
        self._store.add_alias(batch, AliasRow(alias, room_id, creator), self._clock.wall_ms())

    def move_aliases(self, batch: Batch, old_room: RoomID, new_room: RoomID) -> None:
        """Let all our aliases of one room stand for another (a room upgrade)."""
        self._store.move_aliases(batch, old_room, new_room)

    async def create_alias(self, alias: RoomAlias, room_id: RoomID, creator: UserID) -> None:
        """Make an alias for a room that the creator is joined to.

        Raises InvalidParam, Forbidden, AliasTaken.
        """
        self.check_local(alias)
        if not await self._memberships.is_joined(creator, room_id):
            raise Forbidden("Join the room before you give it an alias.")
        with self.claimed(alias):
            await self.check_free(alias)
            batch = Batch()
            self.add_alias(batch, alias, room_id, creator)
            await self._writer.submit(batch)

    async def remove_alias(self, alias: RoomAlias, remover: UserID, *, is_admin: bool = False) -> None:
        """Remove one of our aliases, and its mention in the room's canonical alias where that is allowed.

        Its creator may, administrators, and who may set the room's canonical alias. Raises InvalidParam,
        NotFound, Forbidden.
        """
        self.check_local(alias)
        row = await self._store.maybe_alias(alias)
        if row is None:
            raise NotFound(f"There is no room with the alias {alias}.")
        may = is_admin or row.creator == remover or await self.may_set_canonical_alias(row.room_id, remover)
        if not may:
            raise Forbidden("Only the alias' creator and the room's moderators may remove it.")
        batch = Batch()
        self._store.remove_alias(batch, alias)
        await self._writer.submit(batch)
        await self._unlist(row.room_id, alias, remover)

    async def may_set_canonical_alias(self, room_id: RoomID, user_id: UserID) -> bool:
        """Whether the user is joined and has the power to send `m.room.canonical_alias`."""
        if not await self._memberships.is_joined(user_id, room_id):
            return False
        power = await self._rooms.power_levels(room_id)
        return power.level_of(user_id) >= power.needed_for_event(CANONICAL_ALIAS, is_state=True)

    async def check_canonical_alias(self, room_id: RoomID, content: Mapping[str, Any]) -> None:
        """Check the aliases that a new `m.room.canonical_alias` would add to the room's state.

        Those already listed are not checked again. Raises InvalidParam for what is no alias, BadAlias
        for an alias that does not stand for this room.
        """
        current = await self._rooms.state_event(room_id, CANONICAL_ALIAS)
        listed = set() if current is None else set(_listed(current.content))
        for text in listed_aliases(content):
            if text in listed:
                continue
            try:
                target = await self.resolve(parse_room_alias(text))
            except InvalidIdentifier as error:
                raise InvalidParam(f"{text!r} is not a room alias: {error}") from error
            except NotFound as error:
                raise BadAlias(f"The alias {text} does not exist. Make it first.") from error
            if target.room_id != room_id:
                raise BadAlias(f"The alias {text} stands for another room.")

    async def _servers_in(self, room_id: RoomID) -> tuple[ServerName, ...]:
        """The servers in the room, ours first, then the one with the most users."""
        sizes = Counter(server_name_of(user_id) for user_id in await self._rooms.joined_users(room_id))
        others = sorted(sizes.keys() - {self._server_name}, key=lambda name: (-sizes[name], name))
        ours = (self._server_name,) if self._server_name in sizes else ()
        return (*ours, *others[: MAX_SERVERS - 1])

    async def _unlist(self, room_id: RoomID, alias: RoomAlias, remover: UserID) -> None:
        current = await self._rooms.state_event(room_id, CANONICAL_ALIAS)
        if current is None or alias not in _listed(current.content):
            return
        content = {
            key: value for key, value in current.content.items() if not (key == "alias" and value == alias)
        }
        if isinstance(content.get("alt_aliases"), list):
            content["alt_aliases"] = [other for other in content["alt_aliases"] if other != alias]
        draft = EventDraft(
            room_id=room_id, sender=remover, type=CANONICAL_ALIAS, content=content, state_key=""
        )
        try:
            await self._rooms.send(draft)
        except HomeserverError:
            return  # the alias is gone all the same, as the spec recommends


def listed_aliases(content: Mapping[str, Any]) -> list[str]:
    """The aliases in the content of an `m.room.canonical_alias`; InvalidParam when it has the wrong shape."""
    alias, others = content.get("alias"), content.get("alt_aliases")
    if alias is not None and not isinstance(alias, str):
        raise InvalidParam("alias must be a string.")
    if others is not None and not isinstance(others, list):
        raise InvalidParam("alt_aliases must be a list of room aliases.")
    if any(not isinstance(other, str) for other in others or ()):
        raise InvalidParam("alt_aliases must hold strings only.")
    return _listed(content)


def _listed(content: Mapping[str, Any]) -> list[str]:
    alias, others = content.get("alias"), content.get("alt_aliases")
    candidates = [alias, *(others if isinstance(others, list) else ())]
    return list(dict.fromkeys(text for text in candidates if isinstance(text, str) and text))
