"""Looking for a moment of a room's history that is not here: where other servers know it, it is fetched.

Source: Server-Server API, `GET /timestamp_to_event`.
"""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.ids import RoomID, ServerName
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.remote_lookups import Direction, FoundEvent, RemoteLookups
from minihs.homeserver.elsewhere.backfill import Backfill
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.logs import Logger
from minihs.store.history import HistoryStore

log = Logger()

MAX_SERVERS = 4  # asked in turn
MAX_FETCHES = 20
"""Portions of history (of 100 events) that are fetched for one question."""


class DistantTimes:
    """Fetches history down to a moment."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        rooms: Rooms,
        history: HistoryStore,
        lookups: RemoteLookups,
        backfill: Backfill,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._history = history
        self._lookups = lookups
        self._backfill = backfill

    async def fetch_towards(
        self, room_id: RoomID, ts: int, direction: Direction, found: FoundEvent | None
    ) -> bool:
        """Fetch history until the event that another server names is here, if it is nearer than `found`.

        Whether there is more history now than before. The other server's word decides only how far is
        fetched: what is fetched has passed every check. Never raises for what other servers do.
        """
        if not await self._history.all_edges(room_id, 1):
            return False
        names = [name for name in await self._rooms.joined_servers(room_id) if name != self._server_name]
        nearer = await self._nearest(room_id, names[:MAX_SERVERS], ts, direction)
        if nearer is None or (found is not None and not _is_nearer(nearer, found, ts)):
            return False
        fetched = False
        for _ in range(MAX_FETCHES):
            if not await self._backfill.before(room_id):
                break
            fetched = True
            row = await self._rooms.row(nearer.event_id)
            if row is not None and not row.standing.is_outlier:
                break
        return fetched

    async def _nearest(
        self, room_id: RoomID, servers: Sequence[ServerName], ts: int, direction: Direction
    ) -> FoundEvent | None:
        """The first answer with an event: the next server could be wrong as well as the first."""
        for server in servers:
            try:
                found = await self._lookups.timestamp_to_event(server, room_id, ts, direction)
            except (RemoteRefusal, Unreachable) as problem:
                log.info(
                    "{server} finds no moment of {room}: {why}", server=server, room=room_id, why=problem
                )
                continue
            if found is not None:
                return found
        return None


def _is_nearer(one: FoundEvent, other: FoundEvent, ts: int) -> bool:
    return abs(one.origin_server_ts - ts) < abs(other.origin_server_ts - ts)
