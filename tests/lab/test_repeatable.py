"""The same seed gives the same event IDs and the same transcript, byte for byte, whatever runs it.

Every experiment that ships, in processes of their own: with other hash seeds, with stores that wait at every
read, and under every other Python that is found: those that MINIHS_TEST_PYTHONS names (a list of paths), or
`.venvs/python3.12/bin/python` and its like. Each needs minihs installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from minihs.lab.experiments import EXPERIMENTS

ROOT = Path(__file__).parents[2]
QUICK = ("demoted", "drafts", "self-destruct")
"""Those of which some runs cost no more than a few seconds."""
VERSIONS = ("3.11", "3.12", "3.13")

PROGRAM = """
import sys
from contextlib import nullcontext
from minihs.lab.experiments import run_experiment
from minihs.lab.yielding import everywhere
name, stores = sys.argv[1:]
with everywhere() if stores == "yields" else nullcontext():
    sys.stdout.buffer.write(run_experiment(name, seed=3, size="small").to_json())
"""

experiments = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in EXPERIMENTS]
)


@cache
def told(name: str, python: str, hash_seed: str, stores: str = "inline") -> bytes:
    """What a run tells: tables, verdicts, graphs, decisions and transcript."""
    return subprocess.run(
        [python, "-c", PROGRAM, name, stores],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def failed(report: bytes) -> list[str]:
    """What was expected and is not so."""
    verdicts = json.loads(report)["verdicts"]
    assert verdicts
    return [verdict["text"] for verdict in verdicts if not verdict["holds"]]


@experiments
@pytest.mark.parametrize("stores", ["inline", "yields"])
def test_two_processes_with_different_hash_seeds_tell_the_same_and_it_holds(name: str, stores: str) -> None:
    """With seeded yields at every read of a store, too."""
    first, second = (told(name, sys.executable, hash_seed, stores) for hash_seed in ("1", "2"))
    assert first == second
    assert failed(first) == []


@experiments
@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_tells_the_same(name: str, version: str) -> None:
    here = ".".join(map(str, sys.version_info[:2]))
    if version == here:
        pytest.skip("it is the Python of the other tests")
    python = other_pythons().get(version)
    if python is None:
        pytest.skip(f"no Python {version} with minihs was found; MINIHS_TEST_PYTHONS may name one")
    assert told(name, python, "3") == told(name, sys.executable, "1")


@cache
def other_pythons() -> dict[str, str]:
    """Interpreters that have what minihs needs, by version."""
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
