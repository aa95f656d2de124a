"""EDUs from other servers: access control lists applied, then handed to those who know them.

Typing and receipts are passed on; other kinds are ignored. What stands in them, and whether their users
belong to the origin, is checked by the receivers. Source: Server-Server API, "EDUs", "Server Access Control
Lists (ACLs)".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from minihs.events.ids import InvalidIdentifier, RoomID, ServerName, parse_room_id

TakeEDU = Callable[[ServerName, Mapping[str, Any]], Awaitable[None]]
"""Takes the content of an EDU from a server; ignores what is malformed."""


class InboundEDUs:
    """Hands EDUs on. A malformed or unwelcome one does not affect the rest.

    `may_take_part(room_id, server)` says whether we know the room and its list lets the server in.
    """

    def __init__(
        self,
        *,
        typing: TakeEDU,
        receipts: TakeEDU,
        may_take_part: Callable[[RoomID, ServerName], Awaitable[bool]],
    ) -> None:
        self._typing = typing
        self._receipts = receipts
        self._may_take_part = may_take_part

    async def receive(self, origin: ServerName, edus: Sequence[object]) -> None:
        """Handle the EDUs of one transaction, in order."""
        for edu in edus:
            if not isinstance(edu, dict) or not isinstance(content := edu.get("content"), dict):
                continue
            match edu.get("edu_type"):
                case "m.typing" if await self._is_welcome(origin, content.get("room_id")):
                    await self._typing(origin, content)
                case "m.receipt":
                    welcome = {
                        room_id: receipts
                        for room_id, receipts in content.items()
                        if await self._is_welcome(origin, room_id)
                    }
                    if welcome:
                        await self._receipts(origin, welcome)

    async def _is_welcome(self, origin: ServerName, room_id: object) -> bool:
        try:
            return await self._may_take_part(parse_room_id(room_id), origin)
        except InvalidIdentifier:
            return False
