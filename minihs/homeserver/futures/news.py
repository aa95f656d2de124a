"""Outcomes of futures as a part of `/sync`: which there are says the stream, how they look a dialect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from minihs.events.ids import UserID
from minihs.store.streams import Stream

Tell = Callable[[UserID, int | None, int, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""The top-level keys for what lies behind one position and up to another; see `SyncPart.keys`."""


class FutureNews:
    """A `SyncPart`. It is there whatever dialects are on, so that tokens go on when one is switched on."""

    stream = "d"

    def __init__(self, outcomes: Stream, tell: Tell) -> None:
        self._outcomes = outcomes
        self._tell = tell

    def position(self) -> int:
        """The position up to which every outcome is durable."""
        return self._outcomes.current

    async def keys(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """What the dialects have to say."""
        return await self._tell(user_id, after, upto, filter_keys)
