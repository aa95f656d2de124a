"""Coroutines side by side."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure


async def in_parallel(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all side by side and wait for all; then raise the first failure, in the order given."""
    results = await DeferredList([Deferred.fromCoroutine(one) for one in work], consumeErrors=True)
    for succeeded, failure in results:
        if not succeeded:
            cast(Failure, failure).raiseException()
