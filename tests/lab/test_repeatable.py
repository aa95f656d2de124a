"""The same seed gives the same event IDs and the same transcript, byte for byte, whatever runs it.

Every experiment that ships, in processes of their own: with other hash seeds, with stores that wait at every
read, and under every other Python that is found: those that MINIHS_TEST_PYTHONS names (a list of paths), or
those that `scripts/other-pythons` prepared in `.venvs/python3.12` and its like. What is to be compared runs
side by side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

import pytest

from minihs.lab.experiments import EXPERIMENTS

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
QUICK = ("demoted", "drafts")
"""Those of which some runs cost no more than a few seconds."""
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
HERE = ".".join(map(str, sys.version_info[:2]))

PROGRAM = """
import sys
from contextlib import nullcontext
from minihs.lab.experiments import run_experiment
from minihs.lab.yielding import everywhere
name, stores = sys.argv[1:]
with everywhere() if stores == "yields" else nullcontext():
    report = run_experiment(name, seed=3, size="small")
    sys.stdout.buffer.write(report.to_json() + b"\\0" + report.to_html().encode())
"""

experiments = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in EXPERIMENTS]
)


class Run:
    """A process that plays an experiment: it begins at once, and `told` waits for what it tells."""

    def __init__(self, name: str, python: str, hash_seed: str, stores: str) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - until it is garbage
        self._process = subprocess.Popen(
            [python, "-c", PROGRAM, name, stores],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            stdout=self._output,
        )

    def told(self) -> bytes:
        """What the run tells: tables, verdicts, cases, graphs, decisions, transcript; and its page."""
        assert self._process.wait() == 0
        self._output.seek(0)
        return self._output.read()


@cache
def run(name: str, python: str, hash_seed: str, stores: str = "inline") -> Run:
    """One that was begun is not begun again."""
    return Run(name, python, hash_seed, stores)


def failed(report: bytes) -> list[str]:
    """What was expected and is not so."""
    verdicts = json.loads(report.split(b"\0")[0])["verdicts"]
    assert verdicts
    return [verdict["text"] for verdict in verdicts if not verdict["holds"]]


@experiments
@pytest.mark.parametrize("stores", ["inline", "yields"])
def test_two_processes_with_different_hash_seeds_tell_the_same_and_it_holds(name: str, stores: str) -> None:
    """With seeded yields at every read of a store, too."""
    first, second = (run(name, sys.executable, hash_seed, stores) for hash_seed in ("1", "2"))
    assert first.told() == second.told()
    assert failed(first.told()) == []


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != HERE])
@experiments
def test_every_python_tells_the_same(name: str, version: str) -> None:
    others = {found: run(name, python, "3") for found, python in other_pythons().items() if found != HERE}
    if version not in others:
        pytest.skip(
            f"no Python {version} with what minihs needs was found: `scripts/other-pythons` prepares those "
            "of this machine, MINIHS_TEST_PYTHONS may name more"
        )
    assert others[version].told() == run(name, sys.executable, "1").told()


@cache
def other_pythons() -> dict[str, str]:
    """Interpreters that have what minihs needs, by version; those that are named go before others."""
    named = os.environ.get("MINIHS_TEST_PYTHONS", "").split(os.pathsep)
    beside = [str(ROOT / ".venvs" / f"python{version}" / "bin" / "python") for version in VERSIONS]
    found: dict[str, str] = {}
    program = "import sys, minihs.cli, minihs.server; print('%d.%d' % sys.version_info[:2])"
    for python in [*named, *beside]:
        if python and Path(python).exists():
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            answer = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True)
            if answer.returncode == 0:
                found.setdefault(answer.stdout.strip(), python)
    return found
