"""MSC4309: what became of futures, in `/sync`. Futures specification, 2.7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.events.ids import UserID
from minihs.homeserver.futures.service import Futures
from minihs.http.dialects.base import QuietDialect
from minihs.http.dialects.management import WITH_DELAY_ID
from minihs.http.dialects.merged import lookup_shape

KEY = "org.matrix.msc4140.finalised_delayed_events"
"""In the reply of `/sync`, and in filters."""


class Msc4309(QuietDialect):
    """Tells of futures that were sent or failed; of those their owner cancelled, the owner knows."""

    name = "msc4309"

    def __init__(self, *, futures: Futures) -> None:
        self._futures = futures

    def unstable_features(self) -> Mapping[str, bool]:
        return {"org.matrix.msc4309": True}

    async def sync_part(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if filter_keys.get(KEY) is False:
            return {}
        news = await self._futures.news(user_id, WITH_DELAY_ID, after or 0, upto)
        return {KEY: [lookup_shape(stored) for stored in news]} if news else {}
