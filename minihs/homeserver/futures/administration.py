"""Any user's futures, for administrators of the server: find, inspect, cancel, explain.

Whoever calls has made sure that it is an administrator who asks. Tokens are never among what is told.
"""

from __future__ import annotations

import math

import msgspec

from minihs.events.ids import UserID
from minihs.futures.model import Cause, Future, FutureID
from minihs.homeserver.futures.errors import UnknownFuture
from minihs.homeserver.futures.explaining import Explanation, FutureExplainer
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.store.future_rows import FutureRow, StoredFuture
from minihs.store.futures_overview import FuturesOverview, Place

MAX_DIGITS = 18


class FuturesPage(msgspec.Struct, frozen=True):
    """Some futures of a listing, and the place behind them if there may be more."""

    rows: tuple[FutureRow, ...]
    following: Place | None


class FutureAdministration:
    """The futures of this server.

    A future is named by its number or, where its owner knows one, its delay ID; UnknownFuture when there is
    none of that name.
    """

    def __init__(
        self,
        *,
        overview: FuturesOverview,
        futures: Futures,
        explainer: FutureExplainer,
        clock: SteadyClock,
    ) -> None:
        self._overview = overview
        self._futures = futures
        self._explainer = explainer
        self._clock = clock

    async def page(
        self, after: Place, limit: int, *, owner: UserID | None = None, finalised: bool = False
    ) -> FuturesPage:
        """Up to `limit` futures behind a place, by user: scheduled ones, or those that are finalised."""
        read = self._overview.all_finalised if finalised else self._overview.all_scheduled
        found = await read(after, limit, owner)
        following = found[-1][0] if len(found) == limit else None
        return FuturesPage(tuple(row for _, row in found), following)

    async def one(self, name: str) -> StoredFuture:
        """One future with what it carries."""
        stored = await self._overview.maybe_by_delay_id(name)
        if stored is None and len(name) <= MAX_DIGITS and name.isascii() and name.isdecimal():
            stored = await self._overview.maybe_by_number(FutureID(int(name)))
        if stored is None:
            raise UnknownFuture
        return stored

    async def cancel(self, name: str) -> StoredFuture:
        """Give a future up; FutureConflict when it was sent. Returns it as it then is."""
        future = (await self.one(name)).future
        await self._futures.cancel(future.delay_id, cause=Cause.ADMINISTRATOR)
        return await self.one(str(future.id))

    async def explain(self, name: str) -> tuple[StoredFuture, Explanation]:
        """Whether a future would be sent now, and what decides."""
        stored = await self.one(name)
        return stored, await self._explainer.explain(stored)

    def wait_ms(self, future: Future) -> int | None:
        """How long until the future is due, 0 when it is; None when it waits for no moment."""
        return None if future.due_ms is None else max(0, math.ceil(self._clock.wait_ms(future.due_ms)))
