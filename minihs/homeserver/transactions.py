"""Transaction IDs of clients: a request that is repeated has its effect once and gets its reply again.

The reply is stored in the same batch as the effect. A repeat while the first request is still under way waits
for the same outcome. Source: Client-Server API, "Transaction identifiers".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from twisted.internet.defer import Deferred

from minihs.platform.clock import Clock
from minihs.store.transactions import TransactionKey, TransactionStore
from minihs.store.writer import Batch, Writer

__all__ = ["Record", "TransactionKey", "Transactions"]

KEPT_MS = 24 * 60 * 60 * 1000
"""How long a reply is kept: clients retry within minutes, and a laptop may sleep over night."""

PRUNE_EVERY = 1_000
"""New transactions between two sweeps, each of which drops at most twice as many old ones."""

Reply: TypeAlias = dict[str, Any]
Record: TypeAlias = Callable[[Batch, Reply], None]
"""Adds the reply to the batch that holds the effect of the request."""


class Transactions:
    """Runs requests that carry a transaction ID."""

    def __init__(self, store: TransactionStore, writer: Writer, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._under_way: dict[TransactionKey, list[Deferred[Reply]]] = {}
        self._since_pruning = 0

    async def once(self, key: TransactionKey, work: Callable[[Record], Awaitable[Reply]]) -> Reply:
        """The reply to the request `key`; `work` runs only if it was never answered.

        `work` is given a function that adds the reply to its own batch, and calls it at most once. A request
        that failed is not remembered: its repeat is tried anew.
        """
        waiters = self._under_way.get(key)
        if waiters is not None:
            waiting: Deferred[Reply] = Deferred()
            waiters.append(waiting)
            return await waiting
        waiters = self._under_way[key] = []
        try:
            stored = await self._store.maybe_reply(key)
            if stored is not None:
                reply: Reply = msgspec.json.decode(stored)
            else:
                reply = await work(
                    lambda batch, made: self._store.add_reply(
                        batch, key, msgspec.json.encode(made), self._clock.wall_ms()
                    )
                )
                self._prune_sometimes()
        except BaseException as error:
            del self._under_way[key]
            for waiting in waiters:
                waiting.errback(error)
            raise
        del self._under_way[key]
        for waiting in waiters:
            waiting.callback(reply)
        return reply

    def _prune_sometimes(self) -> None:
        self._since_pruning += 1
        if self._since_pruning >= PRUNE_EVERY:
            self._since_pruning = 0
            batch = Batch()
            self._store.prune(batch, self._clock.wall_ms() - KEPT_MS, 2 * PRUNE_EVERY)
            self._writer.submit(batch)
