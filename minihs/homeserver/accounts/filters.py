"""Filters that clients upload once and name afterwards. Source: client-server API, "Filtering".

What a filter lets through is decided in `event_filter`.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable

from minihs.events.ids import UserID
from minihs.homeserver.errors import InvalidParam, NotFound
from minihs.store.filters import FilterStore
from minihs.store.writer import Batch, Writer

MAX_FILTER_BYTES = 65_536
_ID_BYTES = 12


class Filters:
    """Keeps filters. `check` raises InvalidParam for JSON text that is no filter."""

    def __init__(self, store: FilterStore, writer: Writer, check: Callable[[str], object]) -> None:
        self._store = store
        self._writer = writer
        self._check = check

    async def add(self, user_id: UserID, definition: bytes) -> str:
        """Keep a filter (JSON text); its ID. The same text has the same ID, so repeating it adds nothing."""
        if len(definition) > MAX_FILTER_BYTES:
            raise InvalidParam(f"A filter has at most {MAX_FILTER_BYTES} bytes.")
        self._check(definition.decode("utf-8"))
        filter_id = urlsafe_b64encode(hashlib.sha256(definition).digest()[:_ID_BYTES]).decode("ascii")
        if await self._store.maybe_filter(user_id, filter_id) is None:
            batch = Batch()
            self._store.put_filter(batch, user_id, filter_id, definition)
            await self._writer.submit(batch)
        return filter_id

    async def get(self, user_id: UserID, filter_id: str) -> bytes:
        """The JSON text of a filter; NotFound."""
        definition = await self._store.maybe_filter(user_id, filter_id)
        if definition is None:
            raise NotFound("You have no filter with this ID.")
        return definition
