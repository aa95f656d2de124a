"""What is measured about a running server; imported only where metrics are asked for."""

from __future__ import annotations

from minihs.http.metrics import Metrics
from minihs.server.wiring import Parts


def measure(parts: Parts) -> Metrics:
    """Metrics that watch the parts of a server from now on."""
    metrics = Metrics()
    parts.writer.observe(metrics.group_written)
    parts.futures.sending.observe(metrics.future_sent)
    metrics.stored_gauge(
        "minihs_futures_scheduled", "Futures that wait for their time.", parts.futures.store.one_total
    )
    metrics.gauge(
        "minihs_rooms_in_memory", "Rooms that are held in memory.", parts.room_service.memories.count
    )

    federation = parts.federation
    metrics.gauge(
        "minihs_federation_destinations_busy",
        "Servers that something is being sent to.",
        federation.sender.busy,
    )
    metrics.gauge(
        "minihs_federation_destinations_failing",
        "Servers that could not be reached and are left alone for a while.",
        federation.retries.count,
    )
    counts = federation.sender.counts
    for name, description, read in (
        ("transactions_sent", "Transactions delivered to other servers.", lambda: counts.transactions),
        ("pdus_sent", "Events delivered to other servers.", lambda: counts.pdus),
        ("edus_sent", "Ephemeral data units delivered to other servers.", lambda: counts.edus),
        ("transactions_failed", "Transactions that could not be delivered.", lambda: counts.failures),
        ("edus_dropped", "Ephemeral data units for servers that fail.", lambda: counts.dropped_edus),
    ):
        metrics.counter(f"minihs_federation_{name}", description, read)
    return metrics
