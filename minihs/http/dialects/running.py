"""The listing of running futures that several dialects share: each future in the shape of its own dialect.

Futures specification, 2.3 to 2.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from minihs.futures.model import FutureID, GroupID
from minihs.homeserver.futures.service import Futures
from minihs.http.dialects.base import Endpoint
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access
from minihs.store.future_rows import StoredFuture

Shape = Callable[[Sequence[StoredFuture]], dict[str, Any]]
"""One item of the listing, from one future or from all scheduled ones of a group."""


class _Offer(msgspec.Struct, frozen=True):
    paths: tuple[str, ...]
    shape: Shape
    whole_groups: bool


class RunningFutures:
    """Lists scheduled futures of their owner in order of due time; those that no timer sends come first."""

    def __init__(self, futures: Futures) -> None:
        self._futures = futures
        self._offers: dict[str, _Offer] = {}

    def offer(
        self, dialect: str, paths: tuple[str, ...], shape: Shape, *, whole_groups: bool = False
    ) -> tuple[Endpoint, ...]:
        """Show a dialect's futures on these paths; the endpoints, which also show those of others there."""
        self._offers[dialect] = _Offer(paths, shape, whole_groups)
        return tuple(
            Endpoint(
                method="GET",
                paths=(path,),
                access=Access.USER,
                handler=partial(self._list, path),
                limit="read",
            )
            for path in paths
        )

    async def _list(self, path: str, request: ApiRequest) -> Reply:
        """`GET {C}/v1/future` and its other spellings."""
        names = sorted(name for name, offer in self._offers.items() if path in offer.paths)
        items: dict[tuple[GroupID, FutureID | None], list[StoredFuture]] = {}
        for one in await self._futures.scheduled(request.user.user_id, names):
            whole = self._offers[one.future.dialect].whole_groups
            items.setdefault((one.group_id, None if whole else one.future.id), []).append(one)
        return Reply(body=[self._offers[item[0].future.dialect].shape(item) for item in items.values()])
