"""Figures of very many futures: commands, many due at once, a million scheduled."""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench import futures, scenarios
from tests.bench.populate import populate
from tests.bench.run import Run

SAMPLE = 5_000
"""Futures that are read from the disk in a turn, the same number whether few or many are scheduled."""

COMMANDS = ("schedule", "restart", "cancel")


async def commands(run: Run) -> None:
    """Schedule, restart and cancel with 10,000 and with 100,000 scheduled, beside bare Twisted.

    Once with the groups in memory, as they are after scheduling over HTTP, and once just after a restart of
    the server, when each must be read first.
    """
    counts, rounds = (10_000, 100_000), 2
    for where in ("in memory", "on disk"):
        with ExitStack() as stack:
            servers = [stack.enter_context(run.stage.minihs()) for _ in counts]
            pairs = list(zip(servers, counts, strict=True))
            scheduled = [futures.fill(server, 10, count) for server, count in pairs]
            bare_port = stack.enter_context(run.stage.bare_twisted())
            if where == "in memory":
                for server, ids in zip(servers, scheduled, strict=True):
                    await futures.touch(server, ids)
            best = [futures.Rates(0, 0, 0) for _ in counts]
            bare = 0.0
            # In turn, and the best of each: what else the machine does meanwhile is not to be measured.
            for turn in range(rounds):
                bare = max(bare, await scenarios.bare_rate(bare_port, run.seconds / 2))
                for number, (server, ids) in enumerate(zip(servers, scheduled, strict=True)):
                    cold = where == "on disk"
                    some = ids[turn::rounds]
                    if cold:
                        server.server.stop()
                        server.server.start()
                        some = some[:: len(some) // SAMPLE]
                    mine = await futures.rates(server, some, server.room(), run.seconds / 2, each_once=cold)
                    best[number] = best[number].better(mine)
            resident = servers[-1].resident_mb()
        few, many = best
        for command in COMMANDS:
            ratio, share = (getattr(many, command) / against for against in (getattr(few, command), bare))
            run.results.report(
                f"{command}, durable, 100,000 scheduled, {where}",
                f"{getattr(many, command):.0f}/s, {ratio:.0%} of that with 10,000; {resident:.0f} MB",
                beside=f"bare Twisted {bare:.0f}/s: {share:.0%}",
                target="≥ 90 %, ≥ 45 %",
                reached=ratio >= 0.9 and share >= 0.45,
            )


async def rooms(run: Run) -> None:
    """10,000 futures due at one instant over 100 rooms."""
    count = 2_000 if run.quick else 10_000
    with run.stage.minihs() as ours:
        mine = await futures.due_in_many_rooms(ours, count, 100)
    run.results.report(
        f"{count:,} due at once, 100 rooms",
        f"{mine.seen:,} seen after {mine.seconds:.1f} s; others p99 {mine.other_p99_ms:.0f} ms; "
        f"{mine.out_of_order} rooms out of order",
        target="≤ 6 s, p99 < 100 ms, in order",
        reached=mine.seen == count
        and mine.seconds <= 6
        and mine.other_p99_ms < 100
        and not mine.out_of_order,
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
    run.results.report(
        f"{count:,} scheduled",
        f"up after {seconds:.2f} s, {resident:.0f} MB, lateness p99 {p99:.0f} ms, earliest {early:.0f} ms",
        target="≤ 3 s, ≤ 400 MB, p99 ≤ 10 ms",
        reached=seconds <= 3 and resident <= 400 and p99 <= 10 and early >= 0,
    )
