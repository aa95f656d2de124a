"""Metrics in Prometheus' format, on a listener of their own.

Numbers for the person who runs the server; nothing in them names a user, a room or a future.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route
from minihs.http.site import Finished

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)


class Metrics:
    """Counts requests, and reads gauges when it is asked."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "minihs_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "minihs_http_request_seconds",
            "Time from a complete request to its reply; long polls included.",
            ("method", "route"),
            registry=self._registry,
            buckets=_BUCKETS_S,
        )
        self._labelled: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request_finished(self, finished: Finished) -> None:
        """An observer of `ApiFactory`."""
        key = (finished.method, finished.route, finished.status)
        found = self._labelled.get(key)
        if found is None:
            # A client may invent methods and paths without end; a route that does not exist has no name.
            method = finished.method if finished.route else "-"
            route = finished.route or "-"
            found = (
                self._requests.labels(method, route, str(finished.status)),
                self._seconds.labels(method, route),
            )
            if finished.route:
                self._labelled[key] = found
        found[0].inc()
        found[1].observe(finished.seconds)

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Report `read()` under `name` whenever somebody asks."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def routes(self) -> list[Route]:
        return [Route(method="GET", path="/metrics", access=Access.OPEN, handler=self.metrics)]

    async def metrics(self, _request: ApiRequest) -> Reply:
        """GET /metrics"""
        return Reply(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
