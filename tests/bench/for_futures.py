"""Figures of very many futures: commands, many due at once, a million scheduled."""

from __future__ import annotations

import random
from contextlib import ExitStack
from itertools import product

from tests.bench import futures, scenarios
from tests.bench.populate import populate
from tests.bench.run import Run

TURNS = 8
SLICE = 1_100
"""Commands of each kind in a turn, the same number whether few or many are scheduled."""

COMMANDS = ("schedule", "restart", "cancel")


async def commands(run: Run) -> None:
    """Schedule, restart and cancel with 10,000 and with 100,000 scheduled, beside bare Twisted.

    With the groups in memory, as they are after scheduling over HTTP, and just after a restart of the server,
    when each must be read first; restarted and cancelled in the order in which they were scheduled, and, with
    no target, drawn among all, so that hardly two of a commit share a page of the database. The three take
    turns in short slices, and all that they do is counted, so that what else the machine does meanwhile falls
    on each of them alike.
    """
    counts = (10_000, 100_000)
    for where, drawn in product(("in memory", "on disk"), (False, True)):
        with ExitStack() as stack:
            servers = [stack.enter_context(run.stage.minihs()) for _ in counts]
            pairs = list(zip(servers, counts, strict=True))
            scheduled = [futures.fill(server, 10, count) for server, count in pairs]
            count = SLICE * (TURNS + 1)
            touched = [random.Random(1).sample(ids, count) if drawn else ids[:count] for ids in scheduled]
            bare_port = stack.enter_context(run.stage.bare_twisted())
            if where == "in memory":
                for server, ids in zip(servers, scheduled, strict=True):
                    await futures.touch(server, ids)
            room_ids = [server.room() for server in servers]
            done = [futures.Commands() for _ in counts]
            bare = futures.Work()
            for turn in range(TURNS):
                bare.add(await scenarios.bare_requests(bare_port, SLICE))
                for number in (0, 1) if turn % 2 else (1, 0):
                    if where == "on disk":
                        servers[number].server.stop()
                        servers[number].server.start()
                    # What is restarted in one turn is cancelled in the next.
                    cancels, restarts = (touched[number][part * SLICE :][:SLICE] for part in (turn, turn + 1))
                    await futures.command(servers[number], room_ids[number], restarts, cancels, done[number])
            resident = servers[-1].resident_mb()
        few, many = done
        for command in COMMANDS:
            rate = getattr(many, command).rate
            ratio, share = rate / getattr(few, command).rate, rate / bare.rate
            run.results.report(
                f"{command}, durable, 100,000 scheduled, {where}{', drawn' if drawn else ''}",
                f"{rate:.0f}/s, {ratio:.0%} of that with 10,000; {resident:.0f} MB",
                beside=f"bare Twisted {bare.rate:.0f}/s: {share:.0%}",
                target="-" if drawn else "≥ 90 %, ≥ 45 %",
                reached=None if drawn else ratio >= 0.9 and share >= 0.45,
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
