"""Who may see an event: people by the history visibility at the event, servers by their people.

Nothing here looks up states or memberships. Answers to "Room History Visibility" in the client-server API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from minihs.events.event import Event, StateKey
from minihs.events.ids import ServerName, UserID, is_of_server, server_name_of

VISIBILITY_KEY: StateKey = ("m.room.history_visibility", "")


class HistoryVisibility(StrEnum):
    """The four settings, the most open first."""

    WORLD_READABLE = "world_readable"
    SHARED = "shared"
    INVITED = "invited"
    JOINED = "joined"


_BY_NAME: Mapping[object, HistoryVisibility] = {setting.value: setting for setting in HistoryVisibility}


def visibility_in(content: Mapping[str, Any] | None) -> HistoryVisibility:
    """The setting in the content of an `m.room.history_visibility` event; `shared` if none is understood."""
    value = None if content is None else content.get("history_visibility")
    return (
        _BY_NAME.get(value, HistoryVisibility.SHARED) if isinstance(value, str) else HistoryVisibility.SHARED
    )


def may_see(
    event: Event,
    user_id: UserID,
    *,
    visibility: HistoryVisibility,
    membership: str | None,
    joins_later: bool,
) -> bool:
    """Whether a user may see `event`.

    `visibility` and `membership` (of that user; None: never had any) are those of the state before the event;
    what the event itself changes about them is taken from the event, and the more generous answer counts.
    `joins_later`: the user joined at some point after the event.
    """
    settings = {visibility, _visibility_after(event, visibility)}
    memberships = {membership}
    if event.type == "m.room.member" and event.state_key == user_id:
        memberships.add(event.membership)

    # The numbers are those of the "Server behaviour" section.
    return (
        HistoryVisibility.WORLD_READABLE in settings  # 1
        or "join" in memberships  # 2
        or (HistoryVisibility.SHARED in settings and joins_later)  # 3
        or (HistoryVisibility.INVITED in settings and "invite" in memberships)  # 4
    )


def server_may_see(
    event: Event,
    server_name: ServerName,
    *,
    visibility: HistoryVisibility,
    memberships: Iterable[tuple[UserID, str]],
) -> bool:
    """Whether a server may be given the content of `event`; if not, it gets the redacted event.

    `visibility` and `memberships` (those of the server's users suffice) are of the state before the event.
    A server may see what it sent, what one of its users may see or, as they may join at any time, could
    come to see: everything that is `shared` or `world_readable`. Whether a server is in the room at all is
    another question.
    """
    if server_name_of(event.sender) == server_name:
        return True
    settings = {visibility, _visibility_after(event, visibility)}
    if settings & {HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED}:
        return True
    enough = {"join", "invite"} if HistoryVisibility.INVITED in settings else {"join"}
    if event.type == "m.room.member" and event.state_key is not None:
        memberships = (*memberships, (UserID(event.state_key), event.membership or ""))
    return any(
        membership in enough and is_of_server(user_id, server_name) for user_id, membership in memberships
    )


def _visibility_after(event: Event, before: HistoryVisibility) -> HistoryVisibility:
    if event.state_key == "" and event.type == "m.room.history_visibility":
        return visibility_in(event.content)
    return before
