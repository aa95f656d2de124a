"""Finds futures by their delay IDs, with their groups, when nothing is under way with them."""

from __future__ import annotations

from minihs.events.ids import UserID
from minihs.futures.model import Future, FutureGroup
from minihs.homeserver.futures.errors import UnknownFuture
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.homeserver.futures.retention import FutureRetention
from minihs.store.futures import FutureStore


class FutureFinder:
    """Looks in memory first, then in the store."""

    def __init__(self, *, store: FutureStore, groups: FutureGroups, retention: FutureRetention) -> None:
        self._store = store
        self._groups = groups
        self._retention = retention

    async def at_rest(self, delay_id: str, owner: UserID | None) -> tuple[LiveGroup, Future]:
        """The future and its group, with no send under way; no control is given away on return."""
        while True:
            live = self._groups.loaded(delay_id)
            if live is None:
                await self._groups.load_with(delay_id)
                live = self._groups.loaded(delay_id)
            if live is None:
                row = await self._store.maybe_future(delay_id)
                if row is None or owner not in (None, row.future.owner):
                    raise UnknownFuture
                if row.future.outcome is not None:
                    if not self._retention.keeps(row.future):
                        raise UnknownFuture
                    group = FutureGroup(row.group_id, row.future.owner, row.group_name, (row.future,))
                    return LiveGroup(group), row.future
                await self._groups.one(row.group_id)
            elif owner not in (None, live.group.owner):
                raise UnknownFuture
            elif live.waiting is not None:
                await live.turn()
            else:
                for future in live.group.members:
                    if future.delay_id == delay_id:
                        return live, future
                raise UnknownFuture
