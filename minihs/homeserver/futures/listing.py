"""Listings of a user's futures, page by page. Which futures a page holds is said by `ListingQuery`."""

from __future__ import annotations

from msgspec.structs import replace

from minihs.futures.model import Millis
from minihs.homeserver.futures.retention import FutureRetention
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.store.future_listing import FutureListingStore, ListedFuture, ListingQuery

UNSEEN_MS = 5_000
"""How long a restart may be on its way to the disk, where a listing does not see it yet."""


class FutureListing:
    """Reads pages."""

    def __init__(self, *, store: FutureListingStore, clock: SteadyClock, retention: FutureRetention) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention

    def begins(self) -> Millis:
        """The moment from which restarts are moves to a listing that begins now."""
        return Millis(self._clock.passed_ms() - UNSEEN_MS)

    async def page(self, query: ListingQuery) -> list[ListedFuture]:
        """What the query asks for, of what is scheduled or still kept."""
        return await self._store.all_listed(replace(query, kept_after=self._retention.oldest_ms()))
