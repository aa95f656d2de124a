"""Questions to other servers about aliases, published rooms and profiles.

The implementations of `remote.RemoteDirectory` and `remote.RemoteProfiles`. Source: Server-Server API,
"Querying for information" and "Published Room Directory".
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import msgspec

from minihs.events.ids import (
    InvalidIdentifier,
    RoomAlias,
    ServerName,
    UserID,
    parse_room_id,
    parse_server_name,
    server_name_of,
)
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.remote_rooms import QUICK_MS, SMALL_BYTES, V1, Client
from minihs.homeserver.elsewhere.protocols import AliasTarget
from minihs.homeserver.errors import Unavailable

MAX_SERVERS = 100  # named as being in a room

Answer = TypeVar("Answer")


class _AliasAnswer(msgspec.Struct, frozen=True):
    room_id: str
    servers: list[str]


class RemoteAliases:
    """Asks the servers of aliases what they stand for, and any server for its published rooms."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def resolve_alias(self, alias: RoomAlias) -> AliasTarget | None:
        """See `RemoteDirectory`."""
        server = server_name_of(alias)
        try:
            answer = await _asked(
                self._client.get(
                    server,
                    f"{V1}/query/directory",
                    {"room_alias": alias},
                    timeout_ms=QUICK_MS,
                    max_bytes=SMALL_BYTES,
                ),
            )
        except RemoteRefusal as refusal:
            if refusal.status == 404:
                return None
            raise
        try:
            target = msgspec.convert(answer, _AliasAnswer)
            room_id = parse_room_id(target.room_id)
        except (msgspec.ValidationError, InvalidIdentifier) as error:
            raise Unavailable(f"{server} gave an answer about {alias} that makes no sense.") from error
        return AliasTarget(room_id, tuple(_server_names(target.servers)))

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `RemoteDirectory`."""
        answer = await _asked(
            self._client.post(server, f"{V1}/publicRooms", query, timeout_ms=QUICK_MS, max_bytes=SMALL_BYTES),
        )
        chunk = answer.get("chunk")
        if not isinstance(chunk, list) or not all(isinstance(room, dict) for room in chunk):
            raise Unavailable(f"{server} gave a list of rooms that is none.")
        known = ("chunk", "next_batch", "prev_batch", "total_room_count_estimate")
        return {key: answer[key] for key in known if key in answer}


class RemoteUserProfiles:
    """Asks the servers of users for their profiles."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def profile(self, user_id: UserID, field: str | None = None) -> Mapping[str, Any]:
        """See `RemoteProfiles`."""
        server = server_name_of(user_id)
        args: dict[str, str | list[str]] = {"user_id": user_id}
        if field is not None:
            args["field"] = field
        answer = await _asked(
            self._client.get(server, f"{V1}/query/profile", args, timeout_ms=QUICK_MS, max_bytes=SMALL_BYTES),
        )
        if field is None:
            return {key: value for key, value in answer.items() if value is not None}
        return {field: answer[field]} if answer.get(field) is not None else {}


async def _asked(question: Awaitable[Answer]) -> Answer:
    try:
        return await question
    except Unreachable as unreachable:
        raise Unavailable(str(unreachable)) from unreachable


def _server_names(names: list[str]) -> list[ServerName]:
    """Those that are server names, each once, in their order."""
    found: dict[ServerName, None] = {}
    for name in names[:MAX_SERVERS]:
        try:
            found[parse_server_name(name)] = None
        except InvalidIdentifier:
            continue
    return list(found)
