"""The benchmarks' own frame: a figure is kept, one that fails or takes too long fails alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.bench.run import Benchmark, Run
from tests.bench.servers import Stage


def a_run(folder: Path) -> Run:
    return Run(Stage(folder), quick=True, with_synapse=False)


async def good(run: Run) -> None:
    """Works."""
    run.results.report("speed | size", "3 ms", beside="-", target="≤ 4 ms", reached=True)


async def endless(run: Run) -> None:
    """Never ends."""
    await asyncio.sleep(60)


async def broken(run: Run) -> None:
    """Goes wrong."""
    raise RuntimeError("nobody answered")


def test_what_goes_wrong_or_never_ends_is_told_and_the_other_figures_are_kept(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for benchmark in (Benchmark(broken, 5), Benchmark(endless, 0.05), Benchmark(good, 5)):
        benchmark.perform(run)
    results = run.results
    assert results.failures == {"broken": "RuntimeError: nobody answered", "endless": "stopped after 0 s"}
    assert [row.figure for row in results.rows] == ["speed | size"]
    assert "| speed \\| size | 3 ms | - | ≤ 4 ms | reached |" in results.markdown()
    assert "| endless | stopped after 0 s | - | - | FAILED |" in results.markdown()
    told = json.loads(results.json(quick=True))
    assert told["quick"] is True
    assert told["rows"][0]["reached"] is True
    assert told["failures"]["broken"].endswith("nobody answered")


def test_a_server_that_ended_of_itself_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    async def crash(run: Run) -> None:
        run.stage.crashed.append("minihs1 ended of itself with exit code 1; its log ends:\nno space left")
        raise ConnectionError("closed")

    run = a_run(tmp_path)
    Benchmark(crash, 5).perform(run)
    assert run.results.failures["crash"].startswith("minihs1 ended of itself")
    assert run.stage.what_crashed() is None, "the next benchmark starts with a clean slate"
