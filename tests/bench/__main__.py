"""`scripts/bench`: the figures, minihs beside Synapse and bare Twisted in one run.

scripts/bench                    everything, about a quarter of an hour
scripts/bench send burst         some of it; `--list` names them
scripts/bench --quick            shorter runs, rougher numbers
scripts/bench --no-synapse       minihs alone
scripts/bench --markdown FILE    the table for notes; `--json FILE` for programs

Figures are ratios measured in one run, on a machine that does nothing else. Synapse is set up as a newcomer
has it; `tests/bench/servers.py` says how.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.bench import for_clients, for_cores, for_futures, for_servers
from tests.bench.run import Benchmark, Run
from tests.bench.servers import Stage
from tests.support.synapse import PYTHON as SYNAPSE_PYTHON

BENCHMARKS = {
    each.name: each
    for each in (
        Benchmark(for_clients.start, 60),
        Benchmark(for_clients.send, 300),
        Benchmark(for_clients.restart, 180),
        Benchmark(for_clients.burst, 240),
        Benchmark(for_clients.latency, 120),
        Benchmark(for_clients.resume, 180),
        Benchmark(for_servers.federation, 240),
        Benchmark(for_servers.received, 240),
        Benchmark(for_servers.joins, 480),
        Benchmark(for_servers.outage, 120),
        Benchmark(for_cores.resolution, 120),
        Benchmark(for_futures.commands, 480),
        Benchmark(for_futures.rooms, 180),
        Benchmark(for_futures.million, 300),
        Benchmark(for_cores.lab, 240),
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher numbers")
    parser.add_argument("--no-synapse", action="store_true", help="minihs alone")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the figures as Markdown")
    options = parser.parse_args()
    if options.list:
        for name, each in BENCHMARKS.items():
            print(f"{name:12} {each.about}")
        return 0
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    with_synapse = not options.no_synapse and SYNAPSE_PYTHON.exists()
    if not with_synapse and not options.no_synapse:
        print("There is no Synapse beside: scripts/interop-environment synapse installs it.", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minihs-bench-") as folder:
        run = Run(Stage(Path(folder)), options.quick, with_synapse)
        for name in options.names or BENCHMARKS:
            print(f"{name}: {BENCHMARKS[name].about}", flush=True)
            BENCHMARKS[name].perform(run)
    results, seconds = run.results, time.monotonic() - started
    Console(width=None if sys.stdout.isatty() else 180).print(results.table())
    print(f"{seconds / 60:.1f} minutes")
    about = {"quick": options.quick, "synapse": with_synapse, "seconds": round(seconds)}
    if options.json is not None:
        options.json.write_text(results.json(**about))
    if options.markdown is not None:
        options.markdown.write_text(results.markdown())
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
