"""Account data: what a user's clients keep on the server, for all of them to see.

Source: client-server API, "Client Config". Tags and push rules are kept here too, under their own types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.errors import InvalidParam, LimitExceeded, NotFound
from minihs.platform.lanes import LaneFull, Lanes
from minihs.store.account_data import AccountDataStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch, Writer

MAX_TYPE_BYTES = 255
_MAX_WAITING_CHANGES = 50

AccountDataObserver = Callable[[UserID, int], None]
"""Told (user, position) when a change is durable."""


class AccountData:
    """Reads and changes account data; every change takes the next position of `stream`."""

    def __init__(self, store: AccountDataStore, writer: Writer, stream: Stream) -> None:
        self._store = store
        self._writer = writer
        self._stream = stream
        self._observers: list[AccountDataObserver] = []
        self._lanes: Lanes[tuple[UserID, RoomID | None, str]] = Lanes(_MAX_WAITING_CHANGES)

    def observe(self, observer: AccountDataObserver) -> None:
        """Hear of every change once it is durable."""
        self._observers.append(observer)

    async def maybe(self, user_id: UserID, room_id: RoomID | None, event_type: str) -> dict[str, Any] | None:
        """The content; None when nothing was ever set."""
        content = await self._store.maybe_content(user_id, room_id, event_type)
        if content is None:
            return None
        decoded: dict[str, Any] = msgspec.json.decode(content)
        return decoded

    async def get(self, user_id: UserID, room_id: RoomID | None, event_type: str) -> dict[str, Any]:
        """The content; NotFound when nothing was ever set."""
        content = await self.maybe(user_id, room_id, event_type)
        if content is None:
            raise NotFound("There is no account data of this type.")
        return content

    async def set(
        self, user_id: UserID, room_id: RoomID | None, event_type: str, content: Mapping[str, Any]
    ) -> None:
        """Replace the content; durable when it returns. InvalidParam for an impossible type."""
        batch = Batch()
        position = self.put(batch, user_id, room_id, event_type, content)
        await self._writer.submit(batch)
        self.committed(user_id, position)

    async def change(
        self,
        user_id: UserID,
        room_id: RoomID | None,
        event_type: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
    ) -> None:
        """Replace the content by what `change` makes of it; None leaves it as it is.

        Changes of one entry happen one after the other, each on top of the one before.
        """

        async def work() -> None:
            content = change(await self.maybe(user_id, room_id, event_type))
            if content is not None:
                await self.set(user_id, room_id, event_type, content)

        try:
            await self._lanes.run((user_id, room_id, event_type), work)
        except LaneFull:
            raise LimitExceeded("Too many changes are under way.", retry_after_ms=1000) from None

    def put(
        self,
        batch: Batch,
        user_id: UserID,
        room_id: RoomID | None,
        event_type: str,
        content: Mapping[str, Any],
    ) -> int:
        """Put a change into `batch`, which is submitted before control is given away; its position.

        Call `committed` once the batch is durable.
        """
        if not event_type or len(event_type.encode("utf-8")) > MAX_TYPE_BYTES:
            raise InvalidParam(f"The type of account data has 1 to {MAX_TYPE_BYTES} bytes.")
        position = self._stream.allocate()
        self._store.put(batch, user_id, room_id, event_type, msgspec.json.encode(content), position)
        return position

    def committed(self, user_id: UserID, position: int) -> None:
        """The change at `position` is durable."""
        self._stream.committed(position)
        for observer in self._observers:
            observer(user_id, position)
