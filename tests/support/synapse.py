"""The Synapse of the tests, which `scripts/interop-environment synapse` installs into `.venvs/synapse`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minihs.lab.real import synapse_process

PYTHON = Path(__file__).parents[2] / ".venvs" / "synapse" / "bin" / "python"


@dataclass(kw_only=True)
class SynapseProcess(synapse_process.SynapseProcess):
    """One Synapse of the tests' environment."""

    python: Path = PYTHON
