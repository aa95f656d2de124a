"""Figures of servers among themselves: latency, bulk, what is received, joins, outages."""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench import between, scenarios
from tests.bench.between import Join
from tests.bench.run import Run


async def federation(run: Run) -> None:
    """From `PUT` to `/sync` on another server, one by one and in bulk."""
    results = []
    makers = [run.stage.minihs] + ([run.stage.synapse] if run.with_synapse else [])
    for make in makers:
        with make() as one, make() as two:
            room_id = one.room()
            scenarios.join(two, "bob", room_id, one.server.server_name)
            timings = await scenarios.until_seen(one, two, room_id, 30 if run.quick else 100)
            count = 5_000 if make == run.stage.minihs else 200
            before = two.cpu_s()
            rate = await between.bulk(one, two, room_id, count)
            results.append((timings, rate, (two.cpu_s() - before) / count * 1000))
    (mine, my_bulk, my_cpu_ms), others = results[0], results[1:]
    p50 = mine.percentile(0.5)
    run.results.report(
        "PUT to /sync over federation",
        f"p50 {p50:.1f} ms, p99 {mine.percentile(0.99):.1f} ms",
        beside=f"Synapse p50 {others[0][0].percentile(0.5):.0f} ms" if others else "-",
        target="p50 ≤ 15 ms",
        reached=p50 <= 15,
    )
    ratio = my_bulk / others[0][1] if others else None
    run.results.report(
        "bulk over federation",
        f"{my_bulk:.0f}/s, {my_cpu_ms:.2f} ms CPU each where they arrive, /sync included",
        beside=f"Synapse {others[0][1]:.0f}/s: {ratio:.0f} times" if others else "-",
        target="≥ 40 times",
        reached=None if ratio is None else ratio >= 40,
    )


async def received(run: Run) -> None:
    """PDUs that wait at the door in transactions of 50: verified, authorised, stored."""
    with ExitStack() as stack:
        ours, theirs = run.servers(stack)
        sender = stack.enter_context(run.stage.minihs())
        mine = await between.receiving(sender, ours, 1_000 if run.quick else 5_000)
        beside, ratio = "-", None
        if theirs is not None:
            other = await between.receiving(sender, theirs, 200 if run.quick else 500)
            ratio = mine.rate / other.rate
            beside = f"Synapse {other.rate:.0f}/s, {other.cpu_ms:.1f} ms: {ratio:.0f} times"
    run.results.report(
        "received in transactions of 50",
        f"{mine.rate:.0f}/s, {mine.cpu_ms:.3f} ms CPU each",
        beside=beside,
        target="≥ 40 times, ≤ 0.6 ms CPU",
        reached=mine.cpu_ms <= 0.6 and (ratio is None or ratio >= 40),
    )


async def joins(run: Run) -> None:
    """Remote joins of rooms with 1,000 and 10,000 state events: minihs and Synapse, each through each.

    The rooms are made on minihs, because Synapse would take many minutes to make them; the first Synapse
    joins them there, the second through the first, so that all servers get the same rooms.
    """
    with ExitStack() as stack:
        maker, ours = (stack.enter_context(run.stage.minihs()) for _ in range(2))
        synapses = [stack.enter_context(run.stage.synapse()) for _ in range(2)] if run.with_synapse else []
        for size, times in ((1_000, 3),) if run.quick else ((1_000, 3), (10_000, 2)):
            rooms = [await between.room_with_state(maker, size) for _ in range(times)]
            mine = [await between.joining(maker, ours, room_id) for room_id in rooms]
            best = min(mine, key=lambda join: join.seconds)
            worst_ms = max(join.worst_ms for join in mine)
            if not synapses:
                _report_join(run, size, best, None)
            else:
                first, second = synapses
                into = [await between.joining(maker, first, room_id) for room_id in rooms]
                theirs = [await between.joining(first, second, room_id) for room_id in rooms]
                other = min(theirs, key=lambda join: join.seconds)
                _report_join(run, size, best, other)
                mixed_rooms = [await between.room_with_state(maker, size) for _ in range(times)]
                for room_id in mixed_rooms:
                    await between.joining(maker, first, room_id)
                mixed = [await between.joining(first, ours, room_id) for room_id in mixed_rooms]
                for figure, joins_ in (("minihs joins Synapse's", mixed), ("Synapse joins minihs'", into)):
                    seconds = min(join.seconds for join in joins_)
                    run.results.report(
                        f"the same, {figure}",
                        f"{seconds:.2f} s",
                        beside=f"Synapse joins Synapse's {other.seconds:.2f} s",
                        target="no slower",
                        reached=seconds <= other.seconds,
                    )
                worst_ms = max(worst_ms, *(join.joiner_worst_ms for join in mixed))
            run.results.report(
                f"others wait during a join of {size:,}",
                f"at most {worst_ms:.0f} ms",
                target="≤ 50 ms",
                reached=worst_ms <= 50,
            )


def _report_join(run: Run, size: int, mine: Join, other: Join | None) -> None:
    ratio = None if other is None else other.seconds / mine.seconds
    beside = "-"
    if other is not None:
        beside = f"Synapse to Synapse {other.seconds:.2f} s ({other.cpu_s:.2f} s CPU): {ratio:.1f} times"
    run.results.report(
        f"join, {size:,} state events, minihs to minihs",
        f"{mine.seconds:.2f} s ({mine.cpu_s:.2f} s CPU)",
        beside=beside,
        target="≥ 4 times",
        reached=None if ratio is None else ratio >= 4,
    )


async def outage(run: Run) -> None:
    """Events missed during an outage, until all are visible."""
    with run.stage.minihs() as one, run.stage.minihs() as two:
        room_id = one.room()
        scenarios.join(two, "bob", room_id, one.server.server_name)
        count = 1_000 if run.quick else 5_000
        seconds = await between.catching_up(one, two, room_id, count)
    run.results.report(
        f"{count:,} events after an outage", f"{seconds:.1f} s", target="≤ 10 s", reached=seconds <= 10
    )
