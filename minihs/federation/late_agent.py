"""Twisted's HTTP agent, imported and made when the first request goes out.

A starting server, and an administrator's command, would pay a seventh of their time for what they do not use.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred, succeed

from minihs.platform.clock import Clock


class Pooling(msgspec.Struct, frozen=True, kw_only=True):
    """Idle connections that are kept for each server, and how long."""

    per_server: int
    idle_ms: int


class LateAgent:
    """Makes requests over what `endpoints` (an IAgentEndpointFactory) finds; with `pooling`, again over the
    same connections."""

    def __init__(self, clock: Clock, endpoints: Any, pooling: Pooling | None = None) -> None:
        self._clock = clock
        self._endpoints = endpoints
        self._pooling = pooling
        self._pool: Any = None
        self._agent: Any = None

    def request(self, method: bytes, url: bytes, headers: Any = None, body: Any = None) -> Deferred[Any]:
        """As IAgent has it."""
        if self._agent is None:
            self._make()
        answering: Deferred[Any] = self._agent.request(method, url, headers, body)
        return answering

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        if self._pool is None:
            return succeed(None)
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing

    def _make(self) -> None:
        from twisted.web.client import Agent, HTTPConnectionPool

        if self._pooling is not None:
            self._pool = cast(Any, HTTPConnectionPool)(self._clock, persistent=True)
            self._pool.maxPersistentPerHost = self._pooling.per_server
            self._pool.cachedConnectionTimeout = self._pooling.idle_ms // 1000
            # Whoever asks repeats a request that met a dead connection, PUT and POST included.
            self._pool.retryAutomatically = False
        self._agent = cast(Any, Agent).usingEndpointFactory(self._clock, self._endpoints, self._pool)
