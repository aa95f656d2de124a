"""Matrix identifiers as types of their own, and the one place that judges their grammar.

Nothing here knows rooms, events or who exists. Answers to "Identifier Grammar" in the specification's
appendices: what others made long ago is accepted, what is made here follows the narrow grammar.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NewType

RoomID = NewType("RoomID", str)
UserID = NewType("UserID", str)
EventID = NewType("EventID", str)
ServerName = NewType("ServerName", str)
RoomAlias = NewType("RoomAlias", str)
DeviceID = NewType("DeviceID", str)

MAX_ID_BYTES = 255
"""Appendices, "User Identifiers", "Room IDs", "Room Aliases", "Event IDs": sigil and domain included."""


class InvalidIdentifier(ValueError):
    """A text that is no identifier of the kind asked for; the message names the kind and the fault."""


# Any code point but the separator, NUL and lone surrogates: user IDs of the past ("Historical User IDs"),
# room IDs and aliases.
_LOCALPART = r"[^:\x00\ud800-\udfff]"
# The grammar alone: "300.1.1.1" is a bad IPv4 literal but a possible DNS name, and other servers let it pass.
_HOST = r"(?:[0-9A-Za-z.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])"
_SERVER_NAME = rf"{_HOST}(?::[0-9]{{1,5}})?"
_HASH = r"[A-Za-z0-9_-]{43}"  # 32 bytes in URL-safe unpadded Base64

_server_name = re.compile(_SERVER_NAME)
_split_server_name = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")
_user_id = re.compile(rf"@{_LOCALPART}*:{_SERVER_NAME}")
_room_id = re.compile(rf"!(?:{_LOCALPART}+:{_SERVER_NAME}|{_HASH})")
_room_alias = re.compile(rf"#{_LOCALPART}+:{_SERVER_NAME}")
_event_id = re.compile(r"\$[^\x00\ud800-\udfff]+")
_new_localpart = re.compile(r"[a-z0-9._=/+-]+")


def _parse(text: object, grammar: re.Pattern[str], kind: str, example: str) -> str:
    if type(text) is not str:
        raise InvalidIdentifier(f"{kind} must be a string like {example}")
    if grammar.fullmatch(text) is None:
        raise InvalidIdentifier(f"{text[:MAX_ID_BYTES]!a} is not {kind}; one looks like {example}")
    # No UTF-8 character takes more than four bytes.
    if len(text) > MAX_ID_BYTES // 4 and len(text.encode()) > MAX_ID_BYTES:
        raise InvalidIdentifier(f"{kind} must not exceed {MAX_ID_BYTES} bytes")
    return text


def parse_user_id(text: object) -> UserID:
    """The user ID in `text`; historical localparts are accepted, even empty ones.

    Raises `InvalidIdentifier`. Appendices, "User Identifiers" and "Historical User IDs".
    """
    return UserID(_parse(text, _user_id, "a user ID", "@alice:example.org"))


def parse_room_id(text: object) -> RoomID:
    """The room ID in `text`: with a domain, or from room version 12 on the hash of the create event.

    Raises `InvalidIdentifier`. Appendices, "Room IDs".
    """
    return RoomID(_parse(text, _room_id, "a room ID", "!opaque:example.org or ! and 43 characters"))


def parse_event_id(text: object) -> EventID:
    """The event ID in `text`, which is opaque: its room version decides what it is made of.

    Raises `InvalidIdentifier`. Appendices, "Event IDs".
    """
    return EventID(_parse(text, _event_id, "an event ID", "$ and 43 characters"))


def parse_room_alias(text: object) -> RoomAlias:
    """The room alias in `text`. Raises `InvalidIdentifier`. Appendices, "Room Aliases"."""
    return RoomAlias(_parse(text, _room_alias, "a room alias", "#lobby:example.org"))


def parse_server_name(text: object) -> ServerName:
    """The server name in `text`, port included. Raises `InvalidIdentifier`. Appendices, "Server Name"."""
    return ServerName(_parse(text, _server_name, "a server name", "example.org or example.org:8448"))


@lru_cache(maxsize=4096)
def server_name_of(identifier: str) -> ServerName:
    """What follows the first colon of an identifier that has been parsed.

    Raises `InvalidIdentifier` where there is no domain, as in room IDs of version 12.
    """
    _, colon, domain = identifier.partition(":")
    if not colon:
        raise InvalidIdentifier(f"{identifier!a} names no server")
    return ServerName(domain)


def is_of_server(identifier: str, server_name: str) -> bool:
    """Whether the server made the identifier; for texts that may be none, as the state keys of others may."""
    return identifier.partition(":")[2] == server_name


def localpart_of(user_id: str) -> str:
    """What stands between the sigil and the first colon of a user ID or room alias."""
    return user_id[1:].partition(":")[0]


def is_new_localpart(text: str) -> bool:
    """Whether an account made here may have this localpart (appendices, "User Identifiers")."""
    return _new_localpart.fullmatch(text) is not None


def split_server_name(name: str) -> tuple[str, int | None]:
    """The host (an IPv6 literal keeps its brackets) and the port, `None` where none is written.

    Raises `InvalidIdentifier`. Appendices, "Server Name".
    """
    match = _split_server_name.fullmatch(name)
    if match is None:
        raise InvalidIdentifier(f"{name[:MAX_ID_BYTES]!a} is not a server name")
    host, port = match.groups()
    return host, None if port is None else int(port)
