"""What other servers tell of rooms and spaces that ours is not in, asked once and kept for a while.

The implementation of `RemoteSpaces`. Source: Server-Server API, "Spaces" (which wants answers cached).
"""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.ids import RoomID, ServerName
from minihs.federation.bounded_cache import BoundedCache
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.remote_lookups import RemoteLookups, ToldSpace
from minihs.federation.shared_work import SharedWork
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger

log = Logger()

KEEP_MS = 5 * 60_000
KEEP_REFUSAL_MS = 60_000
MAX_KEPT = 50  # answers of up to 1 MiB
MAX_REFUSALS_KEPT = 5_000
MAX_SERVERS = 3  # asked in turn about one room


class RememberedSpaces:
    """Asks, and remembers by server and room: what one server says of a room is never another's word."""

    def __init__(self, clock: Clock, lookups: RemoteLookups) -> None:
        self._clock = clock
        self._lookups = lookups
        self._told: BoundedCache[tuple[ServerName, RoomID], ToldSpace] = BoundedCache(MAX_KEPT)
        self._refused: BoundedCache[tuple[ServerName, RoomID], bool] = BoundedCache(MAX_REFUSALS_KEPT)
        self._asking: SharedWork[tuple[ServerName, RoomID], ToldSpace | None] = SharedWork()

    async def told(self, room_id: RoomID, servers: Sequence[ServerName]) -> ToldSpace | None:
        """See `RemoteSpaces`."""
        for server in servers[:MAX_SERVERS]:
            key = (server, room_id)
            now_ms = self._clock.monotonic_ms()
            known = self._told.get(key, now_ms)
            if known is None and not self._refused.get(key, now_ms):
                known = await self._asking.run(key, lambda key=key: self._ask(*key))  # type: ignore[misc]
            if known is not None:
                return known
        return None

    async def _ask(self, server: ServerName, room_id: RoomID) -> ToldSpace | None:
        try:
            told = await self._lookups.hierarchy(server, room_id)
        except (RemoteRefusal, Unreachable) as problem:
            log.info("{server} tells nothing of {room}: {why}", server=server, room=room_id, why=problem)
            self._refused.put((server, room_id), True, self._clock.monotonic_ms() + KEEP_REFUSAL_MS)
            return None
        self._told.put((server, room_id), told, self._clock.monotonic_ms() + KEEP_MS)
        return told
