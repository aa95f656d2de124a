"""What other servers may know of our rooms and spaces without being in them.

Source: Server-Server API, "Spaces" and "Server Access Control Lists".
"""

from __future__ import annotations

import msgspec

from minihs.events.ids import RoomID, ServerName
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.errors import NotFound
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.rooms.spaces import ChildLink
from minihs.rooms.summary import RoomSummary

MAX_CHILDREN_TOLD = 100
"""Children that are summed up, in the order of the space; others can be asked for by themselves."""


class SpaceAnswer(msgspec.Struct, frozen=True):
    """A room with the children that it names, those of them that the server may see, and those it may not."""

    room: RoomSummary
    links: tuple[ChildLink, ...]
    children: list[RoomSummary]
    inaccessible: list[RoomID]


class SpaceServing:
    """Answers `/hierarchy` for other servers."""

    def __init__(self, *, acls: ServerACLs, summaries: RoomSummaries) -> None:
        self._acls = acls
        self._summaries = summaries

    async def hierarchy(self, origin: ServerName, room_id: RoomID, *, suggested_only: bool) -> SpaceAnswer:
        """The room and its children.

        Raises Forbidden when the room's ACL keeps the server out, NotFound when we are not in the room or
        nobody of the server could get in.
        """
        summary = await self._summaries.maybe(room_id)
        if summary is not None:
            await self._acls.check(room_id, origin)
        if summary is None or not await self._summaries.server_may_see(origin, summary):
            raise NotFound(f"There is no room {room_id} here that users of {origin} could join or read.")
        links = await self._summaries.children(summary, suggested_only=suggested_only)
        children: list[RoomSummary] = []
        inaccessible: list[RoomID] = []
        for link in links[:MAX_CHILDREN_TOLD]:
            child = await self._summaries.maybe(link.room_id)
            if child is None:
                continue
            let_in = await self._acls.allows(link.room_id, origin)
            if let_in and await self._summaries.server_may_see(origin, child):
                children.append(child)
            else:
                inaccessible.append(link.room_id)
        return SpaceAnswer(summary, links, children, inaccessible)
