"""Making a room: which events it starts with, in which order, as one batch.

Source: Client-Server API, "Creation" (`POST /createRoom`) with its presets, and room version 12 for creators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import (
    InvalidIdentifier,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    parse_room_alias,
    parse_user_id,
    server_name_of,
)
from minihs.events.versions import RoomVersion
from minihs.homeserver.errors import (
    AliasTaken,
    BadAlias,
    BadContent,
    Forbidden,
    InvalidParam,
    InvalidRoomState,
    RoomInUse,
    Unavailable,
)
from minihs.homeserver.member_change import MEMBER
from minihs.homeserver.room_actions.directory import CANONICAL_ALIAS, Directory, listed_aliases
from minihs.homeserver.room_actions.membership import Membership, ProfileOf
from minihs.homeserver.room_actions.state_content import check_state_content
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.logs import Logger
from minihs.store.directory import DirectoryStore
from minihs.store.writer import Batch

log = Logger()

MAX_INVITES = 100
"""Invites in one request; each to a user of another server is a request to that server."""

CREATE = "m.room.create"
POWER_LEVELS = "m.room.power_levels"
_CREATOR_LEVEL = 100
_TOMBSTONE_LEVEL_WITH_CREATORS = 150


class InitialState(msgspec.Struct, frozen=True):
    """One state event that a new room gets."""

    type: str
    content: Mapping[str, Any]
    state_key: str = ""


class Preset(msgspec.Struct, frozen=True):
    """What a preset means. `trusted` invitees get the same power as the creator."""

    join_rule: str
    guest_access: str
    invite_level: int
    trusted: bool = False
    history_visibility: str = "shared"

    def events(self) -> tuple[InitialState, ...]:
        return (
            InitialState("m.room.join_rules", {"join_rule": self.join_rule}),
            InitialState("m.room.history_visibility", {"history_visibility": self.history_visibility}),
            InitialState("m.room.guest_access", {"guest_access": self.guest_access}),
        )


PRESETS: Mapping[str, Preset] = {
    "private_chat": Preset("invite", "can_join", invite_level=0),
    "trusted_private_chat": Preset("invite", "can_join", invite_level=0, trusted=True),
    "public_chat": Preset("public", "forbidden", invite_level=50),
}


class NewRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of a new room; the fields are those of the request."""

    version: RoomVersion
    preset: Preset = PRESETS["private_chat"]
    published: bool = False
    alias_localpart: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: Sequence[UserID] = ()
    creation_content: Mapping[str, Any] = msgspec.field(default_factory=dict)
    initial_state: Sequence[InitialState] = ()
    power_levels: Mapping[str, Any] = msgspec.field(default_factory=dict)
    is_direct: bool = False


class RoomCreation:
    """Makes rooms."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        rooms: Rooms,
        membership: Membership,
        directory: Directory,
        published: DirectoryStore,
        profile_of: ProfileOf,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._membership = membership
        self._directory = directory
        self._published = published
        self._profile_of = profile_of

    async def create(self, creator: UserID, wanted: NewRoom) -> RoomID:
        """Make a room and everything in it, then invite the users of other servers.

        An invite that cannot be delivered for now does not undo the room; one that is refused is reported.
        Raises RoomInUse, InvalidRoomState, BadContent, InvalidParam, BadAlias, InviteBlocked, and what
        `RemoteMembership.invite_remote` raises for a refusal.
        """
        alias = self._alias(wanted)
        _check(wanted, alias)
        ours = [user_id for user_id in wanted.invite if server_name_of(user_id) == self._server_name]
        others = [user_id for user_id in wanted.invite if user_id not in ours]
        create_content = _create_content(creator, wanted)
        if others and create_content.get("m.federate") is False:
            raise InvalidRoomState("A room with m.federate false cannot have users of other servers.")
        states = [
            *_initial_states(creator, wanted, alias),
            *await self._invites(wanted, ours),
        ]

        def also(batch: Batch, event: Event) -> None:
            if event.type == CREATE:
                if alias is not None:
                    self._directory.add_alias(batch, alias, event.room_id, creator)
                if wanted.published:
                    self._published.set_published(batch, event.room_id, True)

        try:
            with nullcontext() if alias is None else self._directory.claimed(alias):
                if alias is not None:
                    await self._directory.check_free(alias)
                room_id = await self.create_with(wanted.version, creator, create_content, states, also=also)
        except AliasTaken as taken:
            raise RoomInUse(taken.message) from taken
        for user_id in others:
            try:
                await self._membership.invite(creator, room_id, user_id, is_direct=wanted.is_direct)
            except Unavailable as away:
                log.warn("{user_id} was not invited: {why}", user_id=user_id, why=away.message)
        return room_id

    async def create_with(
        self,
        version: RoomVersion,
        creator: UserID,
        create_content: Mapping[str, Any],
        states: Sequence[InitialState],
        *,
        also: Callable[[Batch, Event], None] | None = None,
    ) -> RoomID:
        """Make a room of a create event, its creator's join and then these state events, all or nothing.

        Raises InvalidRoomState when one of them would not be allowed.
        """
        join = InitialState(MEMBER, {**await self._profile_of(creator), "membership": "join"}, creator)

        def drafts(room_id: RoomID) -> list[EventDraft]:
            return [
                EventDraft(
                    room_id=room_id,
                    sender=creator,
                    type=state.type,
                    state_key=state.state_key,
                    content=state.content,
                )
                for state in (join, *states)
            ]

        try:
            return await self._rooms.create(version, creator, create_content, drafts, also=also)
        except Forbidden as refusal:
            raise InvalidRoomState(
                f"The room's own rules refuse one of its events: {refusal.message}"
            ) from refusal

    async def _invites(self, wanted: NewRoom, invited: Sequence[UserID]) -> list[InitialState]:
        states = []
        for user_id in invited:
            await self._membership.check_takes_invites(user_id)
            content = {**await self._profile_of(user_id), "membership": "invite"}
            if wanted.is_direct:
                content["is_direct"] = True
            states.append(InitialState(MEMBER, content, user_id))
        return states

    def _alias(self, wanted: NewRoom) -> RoomAlias | None:
        if wanted.alias_localpart is None:
            return None
        if ":" in wanted.alias_localpart:
            raise InvalidParam("room_alias_name is the part between # and the colon, without both.")
        try:
            alias = parse_room_alias(f"#{wanted.alias_localpart}:{self._server_name}")
        except InvalidIdentifier as error:
            raise InvalidParam(f"room_alias_name does not make an alias: {error}") from error
        self._directory.check_local(alias)
        return alias


def default_power_levels(
    creators: Sequence[UserID], version: RoomVersion, invite_level: int
) -> dict[str, Any]:
    """The power levels that a room starts with.

    Since version 12 creators stand above all levels and may not be listed, and a tombstone must need more
    than `state_default` (`POST /createRoom`, order of events, 3).
    """
    listed = () if version.privileged_creators else creators
    tombstone = _TOMBSTONE_LEVEL_WITH_CREATORS if version.privileged_creators else _CREATOR_LEVEL
    return {
        "users": dict.fromkeys(listed, _CREATOR_LEVEL),
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
            "m.room.tombstone": tombstone,
        },
        "events_default": 0,
        "state_default": 50,
        "invite": invite_level,
        "kick": 50,
        "ban": 50,
        "redact": 50,
    }


def _initial_states(creator: UserID, wanted: NewRoom, alias: RoomAlias | None) -> Iterator[InitialState]:
    """The state after the creator's join and before the invites, in the order of the specification."""
    yield InitialState(POWER_LEVELS, _power_levels(creator, wanted))
    if alias is not None:
        yield InitialState(CANONICAL_ALIAS, {"alias": alias})
    given = {(state.type, state.state_key) for state in wanted.initial_state}
    for state in wanted.preset.events():
        if (state.type, state.state_key) not in given:
            yield state
    yield from wanted.initial_state
    if wanted.name is not None:
        yield InitialState("m.room.name", {"name": wanted.name})
    if wanted.topic is not None:
        text = [{"body": wanted.topic, "mimetype": "text/plain"}]
        yield InitialState("m.room.topic", {"topic": wanted.topic, "m.topic": {"m.text": text}})


def _power_levels(creator: UserID, wanted: NewRoom) -> dict[str, Any]:
    invited = wanted.invite if wanted.preset.trusted else ()
    levels = default_power_levels((creator, *invited), wanted.version, wanted.preset.invite_level)
    state_default = wanted.power_levels.get("state_default")
    if wanted.version.privileged_creators and isinstance(state_default, int):
        levels["events"]["m.room.tombstone"] = max(_TOMBSTONE_LEVEL_WITH_CREATORS, state_default + 1)
    return {**levels, **wanted.power_levels}


def _create_content(creator: UserID, wanted: NewRoom) -> dict[str, Any]:
    content = {key: value for key, value in wanted.creation_content.items() if key != "creator"}
    content["room_version"] = wanted.version.id
    if wanted.version.creator_in_content:
        content["creator"] = creator
    if wanted.version.privileged_creators:
        asked = content.pop("additional_creators", [])
        trusted = wanted.invite if wanted.preset.trusted else ()
        additional = [name for name in dict.fromkeys((*asked, *trusted)) if name != creator]
        if additional:
            content["additional_creators"] = additional
    return content


def _check(wanted: NewRoom, alias: RoomAlias | None) -> None:
    if len(wanted.invite) > MAX_INVITES:
        raise InvalidParam(f"Invite at most {MAX_INVITES} users with the request and the others afterwards.")
    _check_creation_content(wanted)
    check_state_content(POWER_LEVELS, wanted.power_levels)
    for state in wanted.initial_state:
        if state.type in (CREATE, MEMBER):
            raise InvalidRoomState(f"initial_state cannot hold {state.type} events.")
        check_state_content(state.type, state.content)
        if state.type == CANONICAL_ALIAS and set(listed_aliases(state.content)) - {alias}:
            raise BadAlias("The new room can list no alias but the one that room_alias_name makes.")


def _check_creation_content(wanted: NewRoom) -> None:
    content = wanted.creation_content
    if not isinstance(content.get("m.federate", True), bool):
        raise BadContent("m.federate must be true or false.")
    if not isinstance(content.get("type"), str | None):
        raise BadContent("type must be a string.")
    if not wanted.version.privileged_creators:
        return
    additional = content.get("additional_creators", [])
    if not isinstance(additional, list):
        raise BadContent("additional_creators must be a list of user IDs.")
    for user_id in additional:
        try:
            parse_user_id(user_id)
        except InvalidIdentifier as error:
            raise BadContent(f"additional_creators must hold user IDs: {error}") from error
