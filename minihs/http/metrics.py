"""Metrics in Prometheus' format, on a listener of their own.

Numbers for the person who runs the server; nothing in them names a user, a room or a future.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route
from minihs.http.site import Finished

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
_BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


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
        self._group_batches = Histogram(
            "minihs_writer_group_batches",
            "Batches that were committed together.",
            registry=self._registry,
            buckets=_BATCHES,
        )
        self._group_seconds = Histogram(
            "minihs_writer_group_seconds",
            "Time from the first statement of a group until it was durable.",
            registry=self._registry,
            buckets=_BUCKETS_S,
        )
        self._lateness = Histogram(
            "minihs_futures_lateness_seconds",
            "How long after its due time a future was durably an event.",
            registry=self._registry,
            buckets=_BUCKETS_S,
        )
        self._stored: list[tuple[Gauge, Callable[[], Awaitable[float]]]] = []
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

    def group_written(self, batches: int, seconds: float) -> None:
        """An observer of the writer."""
        self._group_batches.observe(batches)
        self._group_seconds.observe(seconds)

    def future_sent(self, late_ms: int) -> None:
        """An observer of futures that were sent because they were due."""
        self._lateness.observe(late_ms / 1000)

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Report `read()`, which may go up and down, under `name` whenever somebody asks."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def stored_gauge(self, name: str, description: str, read: Callable[[], Awaitable[float]]) -> None:
        """The same for a number that stands in the database."""
        self._stored.append((Gauge(name, description, registry=self._registry), read))

    def counter(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Report `read()`, which only grows, under `name` and `_total` whenever somebody asks."""
        self._registry.register(_Counted(name, description, read))

    def routes(self) -> list[Route]:
        return [Route(method="GET", path="/metrics", access=Access.OPEN, handler=self.metrics)]

    async def metrics(self, _request: ApiRequest) -> Reply:
        """GET /metrics"""
        for gauge, read in self._stored:
            gauge.set(await read())
        return Reply(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Counted(Collector):
    """A count that somebody else keeps."""

    def __init__(self, name: str, description: str, read: Callable[[], float]) -> None:
        self._name = name
        self._description = description
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._description, value=self._read())
