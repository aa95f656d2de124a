"""The program `minihs` as a process of its own, run to its end."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

PATIENCE_S = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def minihs(*args: object, stdin: str = "") -> Ended:
    """Run `minihs ARGS` and wait for it."""
    done = subprocess.run(
        [sys.executable, "-m", "minihs", *(str(arg) for arg in args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
