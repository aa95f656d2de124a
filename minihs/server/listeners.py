"""A homeserver with its listeners: started, stopped; once each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError

from minihs.config import LoggingSection, parse_listen
from minihs.http import request_log
from minihs.http.addresses import TrustedProxies
from minihs.http.federation_api.authentication import SignedRequests
from minihs.http.routing import Router
from minihs.http.site import ApiFactory, Finished, Observer
from minihs.platform.network import Network
from minihs.server.platform import CannotStart
from minihs.server.routes import client_routes, federation_routes
from minihs.server.wiring import Parts

if TYPE_CHECKING:
    from minihs.http.metrics import Metrics


class Addresses(msgspec.Struct, frozen=True):
    """Where a started server listens, as URLs."""

    client: str
    federation: str
    metrics: str | None = None


class Server:
    """A homeserver with its listeners: built, started, stopped; once each."""

    def __init__(self, parts: Parts, network: Network) -> None:
        config = parts.config
        self.parts = parts
        self._network = network
        self._metrics = None if config.metrics.listen is None else _metrics(parts)
        observer = _observer(config.logging, self._metrics)
        try:
            proxies = TrustedProxies(config.http.trusted_proxies)
        except ValueError as error:
            raise CannotStart(f"http.trusted_proxies: {error}") from error
        self.client_site = ApiFactory(
            Router(client_routes(parts)),
            clock=parts.clock,
            limiter=parts.limiter,
            tokens=parts.accounts.sessions,
            trusted_proxies=proxies,
            observer=observer,
            max_body=config.http.max_request_bytes,
        )
        self.federation_site = ApiFactory(
            Router(federation_routes(parts)),
            clock=parts.clock,
            limiter=parts.limiter,
            servers=SignedRequests(parts.federation.verifier),
            trusted_proxies=proxies,
            observer=observer,
        )
        self._ports: list[Any] = []

    async def start(self) -> Addresses:
        """Listen, send what is due, and carry on with what was left when the process ended."""
        config = self.parts.config
        await self.parts.inbound.transactions.start()
        federation = await self._listen(
            "server.federation_listen", self.federation_site, config.server.federation_listen, tls=True
        )
        await self.parts.federation.sender.start()
        await self.parts.futures.scheduler.start()
        await self.parts.room_service.purges.start(self.parts.sync.feed.membership_written)
        metrics = None
        if self._metrics is not None and config.metrics.listen is not None:
            site = ApiFactory(
                Router(self._metrics.routes()), clock=self.parts.clock, limiter=self.parts.limiter
            )
            metrics = await self._listen("metrics.listen", site, config.metrics.listen, tls=False)
        # Last, because a client takes an answer here for "ready".
        client = await self._listen(
            "server.client_listen", self.client_site, config.server.client_listen, tls=False
        )
        return Addresses(
            client=f"http://{client}",
            federation=f"https://{federation}",
            metrics=None if metrics is None else f"http://{metrics}",
        )

    async def stop(self) -> None:
        """Take no more requests, finish those under way, leave queues and timers on disk."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        await self.parts.futures.scheduler.stop()
        self.parts.room_service.purges.stop()
        self.parts.sync.stop()
        await self.client_site.stop()
        await self.federation_site.stop()
        await self.parts.federation.sender.stop()
        await self.parts.federation.client.close()
        await self.parts.writer.stop()

    async def _listen(self, setting: str, site: ApiFactory, address: str, *, tls: bool) -> str:
        host, port = parse_listen(address)
        try:
            listening: Any = await self._network.listen(site, host, port, tls=tls)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotStart(f"{setting}: {address} cannot be listened on: {reason}.") from error
        self._ports.append(listening)
        actual = listening.getHost()
        return f"[{actual.host}]:{actual.port}" if ":" in actual.host else f"{actual.host}:{actual.port}"


def _observer(logging: LoggingSection, metrics: Metrics | None) -> Observer | None:
    """Who is told of every request: nobody, unless it is to be counted or logged."""
    observers = [] if metrics is None else [metrics.request_finished]
    if "debug" in (logging.level, logging.levels.get(request_log.NAME)):
        observers.append(request_log.request_finished)
    if len(observers) < 2:
        return observers[0] if observers else None

    def everybody(finished: Finished) -> None:
        for observer in observers:
            observer(finished)

    return everybody


def _metrics(parts: Parts) -> Metrics:
    from minihs.server.measuring import measure  # late: it takes time and memory that most servers can save

    return measure(parts)
