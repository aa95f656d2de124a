"""Outcomes of futures as a part of `/sync`: which there are says the stream, how they look a dialect.

They are told page by page, each with a content of up to 64 KiB: the rest comes with the next `/sync`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from minihs.events.ids import UserID
from minihs.store.streams import Stream

Tell = Callable[[UserID, int | None, int, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""The top-level keys for what lies behind one position and up to another; see `SyncPart.keys`."""


PAGE = 100
"""Most outcomes in one reply, as many as in a page of a listing."""

EndOfPage = Callable[[UserID, int, int, int], Awaitable[int]]
"""`FutureStore.one_end_of_news`."""


class FutureNews:
    """A `SyncPart`. It is there whatever dialects are on, so that tokens go on when one is switched on."""

    stream = "d"

    def __init__(self, outcomes: Stream, end_of_page: EndOfPage, tell: Tell) -> None:
        self._outcomes = outcomes
        self._end_of_page = end_of_page
        self._tell = tell

    def position(self) -> int:
        """The position up to which every outcome is durable."""
        return self._outcomes.current

    async def keys(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        """What the dialects have to say about the first page of which they say anything."""
        while True:
            end = await self._end_of_page(user_id, after or 0, upto, PAGE)
            told = await self._tell(user_id, after, end, filter_keys)
            if told or end >= upto:
                return told, end
            after = end
