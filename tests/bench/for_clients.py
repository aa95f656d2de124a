"""Figures of one server and its clients: start, sending, heartbeats, bursts, latency."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from tests.bench import scenarios
from tests.bench.run import Run


async def start(run: Run) -> None:
    """From process start to the first answer; resident memory at rest."""
    seconds = []
    with run.stage.minihs() as ours:
        for _ in range(5):
            ours.server.stop()
            seconds.append(ours.server.start())
        await asyncio.sleep(1)
        resident = ours.resident_mb()
    best, middle = min(seconds), sorted(seconds)[2]
    run.results.report(
        "start to first answer",
        f"{middle:.2f} s (best {best:.2f})",
        target="≤ 0.6 s",
        reached=middle <= 0.6,
    )
    run.results.report("resident at rest", f"{resident:.0f} MB", target="≤ 75 MB", reached=resident <= 75)


async def send(run: Run) -> None:
    """`PUT /send`, 32 connections, one room and 32 rooms; in turns with Synapse, the median of each."""
    turns = 1 if run.quick else 3
    with ExitStack() as stack:
        ours, theirs = run.servers(stack)
        for rooms in (1, 32):
            mine, others = [], []
            for _ in range(turns):
                mine.append(await scenarios.sending(ours, rooms, 32, run.seconds / turns))
                if theirs is not None:
                    others.append(await scenarios.sending(theirs, rooms, 32, run.seconds / turns))
            ours_typical = sorted(mine, key=lambda one: one.rate)[turns // 2]
            beside, ratio = "-", None
            if others:
                other = sorted(others, key=lambda one: one.rate)[turns // 2]
                ratio = ours_typical.rate / other.rate
                beside = f"Synapse {other.rate:.0f}/s, {other.cpu_ms:.1f} ms: {ratio:.0f} times"
            cpu_ms = ours_typical.cpu_ms
            run.results.report(
                f"PUT /send, {rooms} room{'s' if rooms > 1 else ''}",
                f"{ours_typical.rate:.0f}/s, {cpu_ms:.3f} ms CPU each, p99 {ours_typical.p99_ms:.0f} ms",
                beside=beside,
                target="≥ 28 times, ≤ 0.45 ms CPU",
                reached=None if ratio is None else ratio >= 28 and cpu_ms <= 0.45,
            )


async def restart(run: Run) -> None:
    """Heartbeats with 10,000 scheduled, against bare Twisted; lateness and rest with them."""
    with run.stage.minihs() as ours:
        ids = await scenarios.schedule(ours, ours.room(), 1_000 if run.quick else 10_000, scenarios.HOUR_MS)
        with run.stage.bare_twisted() as port:
            bare = (await scenarios.bare_requests(port, 10_000)).rate
            before = ours.cpu_s()
            mine = await scenarios.restarting(ours, ids, run.seconds)
            cpu_ms = (ours.cpu_s() - before) / mine.count * 1000
            bare = max(bare, (await scenarios.bare_requests(port, 10_000)).rate)
        share = mine.rate / bare
        run.results.report(
            f"restart, durable, {len(ids):,} scheduled",
            f"{mine.rate:.0f}/s, about {cpu_ms:.3f} ms CPU each",
            beside=f"bare Twisted {bare:.0f}/s: {share:.0%}",
            target="≥ 45 %",
            reached=share >= 0.45,
        )
        idle = await scenarios.idle_cpu(ours, 5)
        run.results.report(
            "idle, with them scheduled",
            f"{idle:.2f} % of a core",
            target="not measurable",
            reached=idle < 0.3,
        )
        late = await scenarios.lateness(ours, 100 if run.quick else 300)
        p50, p99, early = late.percentile(0.5), late.percentile(0.99), min(late.values_ms)
        run.results.report(
            "lateness, with them scheduled",
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, earliest {early:.0f} ms",
            target="p99 ≤ 10 ms, never early",
            reached=p99 <= 10 and early >= 0,
        )


async def burst(run: Run) -> None:
    """1,000 futures due at one instant in one room."""
    with ExitStack() as stack:
        ours, theirs = run.servers(stack)
        mine = await scenarios.burst(ours, 1_000)
        beside = "-"
        if theirs is not None and not run.quick:
            other = await scenarios.burst(theirs, 1_000, query=True)
            beside = f"Synapse {other.seen} seen after {other.seconds:.1f} s"
    run.results.report(
        "1,000 due at once, one room",
        f"{mine.seen} seen after {mine.seconds:.2f} s; others p99 {mine.other_p99_ms:.0f} ms, "
        f"worst {mine.other_worst_ms:.0f} ms",
        beside=beside,
        target="≤ 1 s, p99 < 100 ms",
        reached=mine.seen == 1_000 and mine.seconds <= 1 and mine.other_p99_ms < 100,
    )


async def latency(run: Run) -> None:
    """From `PUT` to the other user's `/sync`, on one server."""
    with ExitStack() as stack:
        timings = []
        for server in run.servers(stack):
            if server is not None:
                room_id = server.room()
                scenarios.join(server, "bob", room_id, server.server.server_name)
                rounds = 50 if run.quick else 200
                timings.append(await scenarios.until_seen(server, server, room_id, rounds))
    mine, *others = timings
    run.results.report(
        "PUT to /sync, one server",
        f"p50 {mine.percentile(0.5):.1f} ms, p99 {mine.percentile(0.99):.1f} ms",
        beside=f"Synapse p50 {others[0].percentile(0.5):.1f} ms" if others else "-",
        target="p50 ≤ 6 ms",
        reached=mine.percentile(0.5) <= 6,
    )


async def resume(run: Run) -> None:
    """A restart of the server with 100,000 futures scheduled."""
    count = 10_000 if run.quick else 100_000
    with run.stage.minihs() as ours:
        await scenarios.schedule(ours, ours.room(), count, 20 * scenarios.HOUR_MS)
        ours.server.stop()
        seconds = ours.server.start()
        run.results.report(
            f"server restart, {count:,} scheduled",
            f"answering after {seconds:.2f} s, {ours.resident_mb():.0f} MB",
            target="≤ 2 s",
            reached=seconds <= 2,
        )
