"""The experiments that ship: a name, a line about each, and how to run it.

A module here has `QUESTION`, `METHOD` and `run(seed, size)`, which returns a `Report`; `size` is `small`
(seconds: what tests run) or `full` (what `docs/lab/` tells of).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from minihs.lab.names import named

if TYPE_CHECKING:
    from minihs.lab.report import Report

Size = Literal["small", "full"]

EXPERIMENTS: Mapping[str, str] = {
    "auth-at-send-time": "What becomes of a future when its sender's rights change before it is sent",
    "call-membership": "Five ways to end a call whose client has vanished: ghosts, false leaves, costs",
    "drafts": "One call told in every generation of the proposal",
    "msc3277-vs-futures": "Scheduled messages in the graph from the start, against futures",
    "self-destruct": "A redaction as a future, against MSC2228: who still sees it, and what stays",
    "presigned": "Events signed in advance and sent later, when the room has moved on",
    "ghost-zoo": "Failures seen in the field, shown to be absent here, and present under the wrong policy",
}


def run_experiment(name: str, *, seed: int = 1, size: Size = "full") -> Report:
    """Run an experiment; UnknownName with the nearest when there is none of that name."""
    named("experiment", name, EXPERIMENTS)
    module = import_module(f"minihs.lab.experiments.{name.replace('-', '_')}")
    report: Report = module.run(seed, size)
    return report
