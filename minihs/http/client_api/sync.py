"""`GET /sync`. Source: Client-Server API, "Syncing"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from minihs.events.ids import UserID
from minihs.homeserver.history.event_filter import EVERYTHING, Filter, parse_filter, raw_keys
from minihs.homeserver.sync import Sync, SyncRequest
from minihs.homeserver.sync.positions import StreamToken
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.cache import LruCache

LoadFilter = Callable[[UserID, str], Awaitable[bytes | None]]
"""The JSON of a filter that the user has uploaded; None when there is none of that ID."""

CACHED_FILTERS = 2_000


class SyncApi:
    """The endpoint that clients live on."""

    def __init__(self, sync: Sync, load_filter: LoadFilter) -> None:
        self._sync = sync
        self._load_filter = load_filter
        self._filters: LruCache[tuple[UserID, str], str] = LruCache(CACHED_FILTERS)

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="GET",
                path="/_matrix/client/v3/sync",
                access=Access.USER,
                handler=self.sync,
                limit="read",
                long_poll=True,
            )
        ]

    async def sync(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /sync`."""
        query = request.query
        since = query.one("since")
        sync_filter, text = await self._filter(request.user.user_id, query.one("filter"))
        query.choice("set_presence", ("offline", "online", "unavailable"))  # there is no presence here
        return await self._sync.sync(
            SyncRequest(
                user_id=request.user.user_id,
                device_id=request.user.device_id,
                since=StreamToken.parse(since) if since else None,
                filter=sync_filter,
                filter_keys=raw_keys(text) if text else {},
                full_state=query.boolean("full_state"),
                use_state_after=query.boolean("use_state_after"),
                timeout_ms=query.integer("timeout", 0, minimum=0) or 0,
            )
        )

    async def _filter(self, user_id: UserID, text: str | None) -> tuple[Filter, str]:
        """The filter and its JSON, from the parameter: a filter's ID, or the filter itself."""
        if not text:
            return EVERYTHING, ""
        if not text.lstrip().startswith("{"):
            definition = self._filters.get((user_id, text))
            if definition is None:
                stored = await self._load_filter(user_id, text)
                if stored is None:
                    raise MatrixError(400, "M_INVALID_PARAM", "`filter` names no filter of yours.")
                definition = stored.decode()
                self._filters.put((user_id, text), definition)
            text = definition
        return parse_filter(text), text
