"""Profiles: what users say of themselves. Local ones are kept, those of others are asked for.

Source: client-server API, "Profiles".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from minihs.events.ids import ServerName, UserID, server_name_of
from minihs.homeserver.elsewhere.protocols import RemoteProfiles
from minihs.homeserver.errors import BadContent, HomeserverError, InvalidParam, NotFound
from minihs.store.profiles import ProfileStore
from minihs.store.users import UserStore
from minihs.store.writer import Batch, Writer

MAX_PROFILE_BYTES = 65_536
MAX_KEY_BYTES = 255
MAX_DISPLAY_NAME_LENGTH = 256
MAX_AVATAR_URL_LENGTH = 1000
"""A name and a picture go into a member event of each room, all of which is bounded at 64 KiB."""

IN_MEMBER_EVENTS = ("avatar_url", "displayname")
_TEXT_FIELDS = {"displayname": MAX_DISPLAY_NAME_LENGTH, "avatar_url": MAX_AVATAR_URL_LENGTH, "m.tz": 255}
_CUSTOM_FIELD = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+\Z")


class ProfileTooLarge(HomeserverError):
    """The whole profile would exceed 64 KiB (400 `M_PROFILE_TOO_LARGE`)."""


class KeyTooLarge(HomeserverError):
    """The name of the field exceeds 255 bytes (400 `M_KEY_TOO_LARGE`)."""


async def _nowhere(_user_id: UserID) -> None:
    return None


class Profiles:
    """Profiles of local users, and, through `remote`, of others.

    `propagate` is awaited when what member events repeat has changed (`EveryRoom.update_profile`).
    """

    def __init__(
        self,
        store: ProfileStore,
        users: UserStore,
        writer: Writer,
        *,
        server_name: ServerName,
        remote: RemoteProfiles,
        propagate: Callable[[UserID], Awaitable[None]] = _nowhere,
    ) -> None:
        self._store = store
        self._users = users
        self._writer = writer
        self._server_name = server_name
        self._remote = remote
        self._propagate = propagate

    async def in_member_events(self, user_id: UserID) -> Mapping[str, Any]:
        """What a local user's member events repeat: `displayname` and `avatar_url`, if they are set."""
        fields = await self._store.all_fields(user_id)
        return {field: fields[field] for field in IN_MEMBER_EVENTS if field in fields}

    async def profile(self, user_id: UserID) -> Mapping[str, Any]:
        """All fields.

        NotFound for a local user that is not there, RemoteRefusal and Unavailable for users of other servers.
        """
        if server_name_of(user_id) != self._server_name:
            return await self._remote.profile(user_id)
        return await self.local_profile(user_id)

    async def local_profile(self, user_id: UserID) -> Mapping[str, Any]:
        """All fields of a local user; NotFound. For other servers that ask, too."""
        user = await self._users.maybe_user(user_id)
        if user is None or user.is_deactivated:
            raise NotFound("There is no such user.")
        return await self._store.all_fields(user_id)

    async def field(self, user_id: UserID, field: str) -> Any:
        """The value of one field; NotFound when it is not set. Otherwise as `profile`."""
        if server_name_of(user_id) != self._server_name:
            fields = await self._remote.profile(user_id, field)
        else:
            fields = await self.local_profile(user_id)
        if field not in fields:
            raise NotFound(f"The profile has no `{field}`.")
        return fields[field]

    async def set_field(self, user_id: UserID, field: str, value: Any) -> None:
        """Set one field of a local user, in member events too.

        An empty name or avatar is none. InvalidParam, BadContent, KeyTooLarge, ProfileTooLarge.
        """
        check_field_name(field)
        longest = _TEXT_FIELDS.get(field)
        if longest is not None:
            if type(value) is not str:
                raise InvalidParam(f"`{field}` must be a string.")
            if len(value) > longest:
                raise InvalidParam(f"`{field}` has at most {longest} characters.")
            if "\0" in value:
                raise InvalidParam(f"`{field}` must not contain a NUL character.")
            if not value:
                await self.remove_field(user_id, field)
                return
        elif value is None:
            raise BadContent(f"`{field}` must not be null. Use DELETE to remove it.")
        profile = {**await self._store.all_fields(user_id), field: value}
        if len(msgspec.json.encode(profile)) > MAX_PROFILE_BYTES:
            raise ProfileTooLarge(f"A profile has at most {MAX_PROFILE_BYTES} bytes in all.")
        batch = Batch()
        self._store.set_field(batch, user_id, field, value)
        await self._submit(batch, user_id, field)

    async def remove_field(self, user_id: UserID, field: str) -> None:
        """Remove one field of a local user; one that is not set is passed over."""
        check_field_name(field)
        batch = Batch()
        self._store.remove_field(batch, user_id, field)
        await self._submit(batch, user_id, field)

    async def _submit(self, batch: Batch, user_id: UserID, field: str) -> None:
        await self._writer.submit(batch)
        if field in IN_MEMBER_EVENTS:
            await self._propagate(user_id)


def check_field_name(field: str) -> None:
    """KeyTooLarge or InvalidParam unless a profile may have a field of that name.

    Appendices, "Common Namespaced Identifier Grammar".
    """
    if len(field.encode("utf-8")) > MAX_KEY_BYTES:
        raise KeyTooLarge(f"The name of a profile field has at most {MAX_KEY_BYTES} bytes.")
    if field not in _TEXT_FIELDS and not _CUSTOM_FIELD.match(field):
        raise InvalidParam(
            "A profile field is called displayname, avatar_url, m.tz, or like org.example.field."
        )
