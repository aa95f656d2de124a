"""`scripts/bench`: the figures, minihs beside Synapse and bare Twisted in one run.

scripts/bench                 everything, some minutes
scripts/bench send burst      some of it; `--list` names them
scripts/bench --quick         shorter runs, rougher numbers
scripts/bench --no-synapse    minihs alone
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import futures, scenarios
from tests.bench.populate import populate
from tests.bench.servers import Measured, Stage
from tests.support.synapse import PYTHON as SYNAPSE_PYTHON


@dataclass
class Run:
    """One run of the benchmarks."""

    stage: Stage
    quick: bool
    with_synapse: bool
    rows: list[tuple[str, str, str, str, bool | None]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return 3.0 if self.quick else 8.0

    def report(self, figure: str, measured: str, against: str, target: str, reached: bool | None) -> None:
        """Add a row and say it at once."""
        self.rows.append((figure, measured, against, target, reached))
        mark = {True: "reached", False: "MISSED", None: ""}[reached]
        print(f"  {figure}: {measured}; {against}; target {target}  {mark}", flush=True)

    def servers(self, stack: ExitStack) -> tuple[Measured, Measured | None]:
        ours = stack.enter_context(self.stage.minihs())
        theirs = stack.enter_context(self.stage.synapse()) if self.with_synapse else None
        return ours, theirs


async def start(run: Run) -> None:
    """From process start to the first answer; resident memory at rest."""
    seconds = []
    with run.stage.minihs() as ours:
        resident = ours.resident_mb()
        for _ in range(5):
            ours.server.stop()
            seconds.append(ours.server.start())
        await asyncio.sleep(1)
        resident = max(resident, ours.resident_mb())
    best, middle = min(seconds), sorted(seconds)[2]
    run.report("start to first answer", f"{middle:.2f} s (best {best:.2f})", "-", "≤ 0.6 s", middle <= 0.6)
    run.report("resident at rest", f"{resident:.0f} MB", "-", "≤ 75 MB", resident <= 75)


async def send(run: Run) -> None:
    """`PUT /send`, 32 connections, one room and 32 rooms."""
    with ExitStack() as stack:
        ours, theirs = run.servers(stack)
        for rooms in (1, 32):
            mine = await scenarios.sending(ours, rooms, 32, run.seconds)
            text = f"{mine.rate:.0f}/s, {mine.cpu_ms:.3f} ms CPU each, p99 {mine.p99_ms:.0f} ms"
            if theirs is None:
                run.report(f"send, {rooms} room(s)", text, "-", "≤ 0.45 ms CPU", mine.cpu_ms <= 0.45)
                continue
            other = await scenarios.sending(theirs, rooms, 32, run.seconds)
            ratio = mine.rate / other.rate
            run.report(
                f"send, {rooms} room(s)",
                text,
                f"Synapse {other.rate:.0f}/s, {other.cpu_ms:.1f} ms: {ratio:.0f} times",
                "≥ 28 times, ≤ 0.45 ms CPU",
                ratio >= 28 and mine.cpu_ms <= 0.45,
            )


async def restart(run: Run) -> None:
    """Heartbeats with 10,000 scheduled, against bare Twisted."""
    with run.stage.minihs() as ours:
        ids = await scenarios.schedule(ours, ours.room(), 1_000 if run.quick else 10_000, scenarios.HOUR_MS)
        with run.stage.bare_twisted() as port:
            bare = await scenarios.bare_rate(port, run.seconds)
            before = ours.cpu_s()
            mine = await scenarios.restarting(ours, ids, run.seconds)
            cpu_ms = (ours.cpu_s() - before) / mine.count * 1000
            bare = max(bare, await scenarios.bare_rate(port, run.seconds))
        share = mine.rate / bare
        run.report(
            f"restart, durable, {len(ids)} scheduled",
            f"{mine.rate:.0f}/s, about {cpu_ms:.3f} ms CPU each",
            f"bare Twisted {bare:.0f}/s: {share:.0%}",
            "≥ 45 %",
            share >= 0.45,
        )
        idle = await scenarios.idle_cpu(ours, 5)
        run.report("idle, with them scheduled", f"{idle:.2f} % of a core", "-", "not measurable", idle < 0.3)
        late = await scenarios.lateness(ours, 100 if run.quick else 300)
        early = min(late.values_ms)
        run.report(
            "lateness, with them scheduled",
            f"p50 {late.percentile(0.5):.0f} ms, p99 {late.percentile(0.99):.0f} ms, earliest {early:.0f} ms",
            "-",
            "p99 ≤ 10 ms, never early",
            late.percentile(0.99) <= 10 and early >= 0,
        )


async def burst(run: Run) -> None:
    """1,000 futures due at one instant in one room."""
    with ExitStack() as stack:
        ours, theirs = run.servers(stack)
        mine = await scenarios.burst(ours, 1_000)
        against = "-"
        if theirs is not None and not run.quick:
            other = await scenarios.burst(theirs, 1_000, query=True)
            against = f"Synapse {other.seen} seen after {other.seconds:.1f} s"
        run.report(
            "1,000 due at once, one room",
            f"{mine.seen} seen after {mine.seconds:.2f} s; others p99 {mine.other_p99_ms:.0f} ms, "
            f"worst {mine.other_worst_ms:.0f} ms",
            against,
            "≤ 1 s, p99 < 100 ms",
            mine.seen == 1_000 and mine.seconds <= 1 and mine.other_p99_ms < 100,
        )


async def latency(run: Run) -> None:
    """From `PUT` to the other user's `/sync`, on one server."""
    with ExitStack() as stack:
        ours, theirs = run.servers(stack)
        texts = []
        for server in (ours, theirs):
            if server is not None:
                room_id = server.room()
                scenarios.join(server, "bob", room_id, server.server.server_name)
                timings = await scenarios.until_seen(server, server, room_id, 50 if run.quick else 200)
                texts.append(timings)
        against = f"Synapse p50 {texts[1].percentile(0.5):.1f} ms" if len(texts) > 1 else "-"
        p50 = texts[0].percentile(0.5)
        run.report(
            "PUT to /sync, one server",
            f"p50 {p50:.1f} ms, p99 {texts[0].percentile(0.99):.1f} ms",
            against,
            "p50 ≤ 6 ms",
            p50 <= 6,
        )


async def federation(run: Run) -> None:
    """From `PUT` to `/sync` on another server, one by one and in bulk."""
    results = []
    makers = [run.stage.minihs] + ([run.stage.synapse] if run.with_synapse else [])
    for make in makers:
        with make() as one, make() as two:
            room_id = one.room()
            scenarios.join(two, "bob", room_id, one.server.server_name)
            timings = await scenarios.until_seen(one, two, room_id, 30 if run.quick else 100)
            count = 5_000 if make == run.stage.minihs else 100
            before = two.cpu_s()
            rate = await scenarios.bulk(one, two, room_id, count)
            results.append((timings, rate, (two.cpu_s() - before) / count * 1000))
    (mine, my_bulk, my_cpu_ms), others = results[0], results[1:]
    p50 = mine.percentile(0.5)
    run.report(
        "PUT to /sync over federation",
        f"p50 {p50:.1f} ms, p99 {mine.percentile(0.99):.1f} ms",
        f"Synapse p50 {others[0][0].percentile(0.5):.0f} ms" if others else "-",
        "p50 ≤ 15 ms",
        p50 <= 15,
    )
    ratio = my_bulk / others[0][1] if others else None
    run.report(
        "bulk over federation",
        f"{my_bulk:.0f}/s, {my_cpu_ms:.2f} ms CPU each where they arrive, /sync included",
        f"Synapse {others[0][1]:.0f}/s: {ratio:.0f} times" if others else "-",
        "≥ 40 times",
        None if ratio is None else ratio >= 40,
    )


async def joins(run: Run) -> None:
    """A remote join of a room with 1,000 state events (minihs also 10,000)."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(run.stage.minihs()) for _ in range(2))
        mine = await scenarios.joining(one, other, 1_000, 3)
        large = None if run.quick else await scenarios.joining(one, other, 10_000, 1)
        if run.with_synapse:
            first, second = (stack.enter_context(run.stage.synapse()) for _ in range(2))
            theirs = await scenarios.joining(first, second, 1_000, 1)
            mixed = await scenarios.joining(first, other, 1_000, 1)
            ratio = theirs.seconds / mine.seconds
            run.report(
                "join, 1,000 state events",
                f"{mine.seconds:.2f} s ({mine.cpu_s:.2f} s CPU)",
                f"Synapse to Synapse {theirs.seconds:.2f} s ({theirs.cpu_s:.2f} s CPU): {ratio:.1f} times",
                "≥ 4 times",
                ratio >= 4,
            )
            run.report(
                "the same, minihs joins Synapse's",
                f"{mixed.seconds:.2f} s",
                f"Synapse {theirs.seconds:.2f} s",
                "≤",
                mixed.seconds <= theirs.seconds,
            )
        else:
            run.report(
                "join, 1,000 state events",
                f"{mine.seconds:.2f} s ({mine.cpu_s:.2f} s CPU)",
                "-",
                "≥ 4 times Synapse",
                None,
            )
        run.report("others wait meanwhile", f"at most {mine.worst_ms:.0f} ms", "-", "-", None)
        if large is not None:
            text = f"{large.seconds:.2f} s ({large.cpu_s:.2f} s CPU), others wait ≤ {large.worst_ms:.0f} ms"
            run.report("join, 10,000 state events", text, "-", "≤ 50 ms", large.worst_ms <= 50)


async def outage(run: Run) -> None:
    """Events missed during an outage, until all are visible."""
    with run.stage.minihs() as one, run.stage.minihs() as two:
        room_id = one.room()
        scenarios.join(two, "bob", room_id, one.server.server_name)
        count = 1_000 if run.quick else 5_000
        seconds = await scenarios.catching_up(one, two, room_id, count)
        run.report(f"{count:,} events after an outage", f"{seconds:.1f} s", "-", "≤ 10 s", seconds <= 10)


async def resume(run: Run) -> None:
    """A restart of the server with 100,000 futures scheduled."""
    count = 10_000 if run.quick else 100_000
    with run.stage.minihs() as ours:
        await scenarios.schedule(ours, ours.room(), count, 20 * scenarios.HOUR_MS)
        ours.server.stop()
        seconds = ours.server.start()
        run.report(
            f"server restart, {count:,} scheduled",
            f"answering after {seconds:.2f} s, {ours.resident_mb():.0f} MB",
            "-",
            "≤ 2 s",
            seconds <= 2,
        )


async def commands(run: Run) -> None:
    """Schedule, restart and cancel with 10,000 and with 100,000 scheduled, beside bare Twisted."""
    counts, rounds = (10_000, 100_000), 2
    with ExitStack() as stack:
        servers = [stack.enter_context(run.stage.minihs()) for _ in counts]
        scheduled = [futures.fill(server, 10, count) for server, count in zip(servers, counts, strict=True)]
        bare_port = stack.enter_context(run.stage.bare_twisted())
        for server, ids in zip(servers, scheduled, strict=True):
            await futures.touch(server, ids)
        best = [futures.Rates(0, 0, 0) for _ in counts]
        bare = 0.0
        # In turn, and the best of each: what else the machine does meanwhile is not to be measured.
        for turn in range(rounds):
            bare = max(bare, await scenarios.bare_rate(bare_port, run.seconds))
            for number, (server, ids) in enumerate(zip(servers, scheduled, strict=True)):
                mine = await futures.rates(server, ids[turn::rounds], server.room(), run.seconds)
                best[number] = best[number].better(mine)
        resident = servers[-1].resident_mb()
    print(f"  resident with 100,000 in memory: {resident:.0f} MB", flush=True)
    few, many = best
    for command in ("schedule", "restart", "cancel"):
        ratio, share = (getattr(many, command) / against for against in (getattr(few, command), bare))
        run.report(
            f"{command}, durable, 100,000 scheduled",
            f"{getattr(many, command):.0f}/s, {ratio:.0%} of that with 10,000",
            f"bare Twisted {bare:.0f}/s: {share:.0%}",
            "≥ 90 %, ≥ 45 %",
            ratio >= 0.9 and share >= 0.45,
        )


async def rooms(run: Run) -> None:
    """10,000 futures due at one instant over 100 rooms."""
    count = 2_000 if run.quick else 10_000
    with run.stage.minihs() as ours:
        mine = await futures.due_in_many_rooms(ours, count, 100)
    run.report(
        f"{count:,} due at once, 100 rooms",
        f"{mine.seen:,} seen after {mine.seconds:.1f} s; others p99 {mine.other_p99_ms:.0f} ms; "
        f"{mine.out_of_order} rooms out of order",
        "-",
        "≤ 6 s, p99 < 100 ms, in order",
        mine.seen == count and mine.seconds <= 6 and mine.other_p99_ms < 100 and not mine.out_of_order,
    )


async def million(run: Run) -> None:
    """1,000,000 futures scheduled, half of them state events: the start, memory, lateness."""
    count = 100_000 if run.quick else 1_000_000
    with run.stage.minihs() as ours:
        room_ids = [ours.room() for _ in range(20)]
        ours.server.stop()
        owners = [f"@user{number}:{ours.server.server_name}" for number in range(10_000)]
        path = ours.server.data_dir / "minihs.db"
        populate(path, room_ids, owners, count, lambda index: 20 * scenarios.HOUR_MS + index, calls=True)
        seconds = ours.server.start()
        late = await scenarios.lateness(ours, 100 if run.quick else 300)
        p99, early, resident = late.percentile(0.99), min(late.values_ms), ours.resident_mb()
    run.report(
        f"{count:,} scheduled",
        f"up after {seconds:.2f} s, {resident:.0f} MB, lateness p99 {p99:.0f} ms, earliest {early:.0f} ms",
        "-",
        "≤ 3 s, ≤ 400 MB, p99 ≤ 10 ms",
        seconds <= 3 and resident <= 400 and p99 <= 10 and early >= 0,
    )


BENCHMARKS: dict[str, Callable[[Run], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        start,
        send,
        restart,
        burst,
        latency,
        federation,
        joins,
        outage,
        resume,
        commands,
        rooms,
        million,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher numbers")
    parser.add_argument("--no-synapse", action="store_true", help="minihs alone")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    options = parser.parse_args()
    if options.list:
        for name, each in BENCHMARKS.items():
            print(f"{name:12} {(each.__doc__ or '').strip()}")
        return 0
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    with_synapse = not options.no_synapse and SYNAPSE_PYTHON.exists()
    with tempfile.TemporaryDirectory(prefix="minihs-bench-") as folder:
        run = Run(Stage(Path(folder)), options.quick, with_synapse)
        for name in options.names or BENCHMARKS:
            print(f"{name}: {(BENCHMARKS[name].__doc__ or '').strip()}", flush=True)
            asyncio.run(_run(BENCHMARKS[name], run))
    table = Table("figure", "measured", "beside it", "target", "")
    for figure, measured, against, target, reached in run.rows:
        table.add_row(figure, measured, against, target, {True: "✓", False: "✗", None: ""}[reached])
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


async def _run(benchmark: Callable[[Run], Awaitable[None]], run: Run) -> None:
    await benchmark(run)


if __name__ == "__main__":
    sys.exit(main())
