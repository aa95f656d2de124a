"""The experiments that ship: a name, a line about each, and how to run it.

A module here has `QUESTION`, `METHOD` and `run(seed, size)`, which returns a `Report`; `size` is `small`
(seconds: what tests run) or `full` (what `docs/lab/` tells of). One with `REAL` takes a `world`, too: how to
make it, such as on real processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from minihs.lab.names import named

if TYPE_CHECKING:
    from minihs.lab.report import Report

Size = Literal["small", "full"]

EXPERIMENTS: Mapping[str, str] = {
    "auth-at-send-time": "What becomes of a future when its sender's rights change before it is sent",
    "call-membership": "Five ways to end a call whose client has vanished: ghosts, false leaves, costs",
    "demoted": "The sender is demoted on the other side of a partition; on real processes, too (--real)",
    "drafts": "One call told in every generation of the proposal",
    "msc3277-vs-futures": "Scheduled messages in the graph from the start, against futures",
    "self-destruct": "A redaction as a future, against MSC2228: who still sees it, and what stays",
    "presigned": "Events signed in advance and sent later, when the room has moved on",
    "ghost-zoo": "Failures seen in the field, shown to be absent here, and present under the wrong policy",
}


class VirtualOnly(Exception):
    """The experiment reaches into servers, which real processes do not let it."""

    def __init__(self, name: str) -> None:
        real = [each for each in EXPERIMENTS if _runs_for_real(each)]
        super().__init__(f"{name} needs a virtual world. On real processes runs: {', '.join(real)}.")


def run_experiment(
    name: str, *, seed: int = 1, size: Size = "full", world: Mapping[str, Any] | None = None
) -> Report:
    """Run an experiment, in worlds of its own unless it takes a `world` (arguments of `World`, `real` among
    them). UnknownName with the nearest when there is none of that name, VirtualOnly."""
    named("experiment", name, EXPERIMENTS)
    if world is None:
        report: Report = _module(name).run(seed, size)
    elif _runs_for_real(name):
        report = _module(name).run(seed, size, world)
    else:
        raise VirtualOnly(name)
    return report


def _runs_for_real(name: str) -> bool:
    return bool(getattr(_module(name), "REAL", False))


def _module(name: str) -> Any:
    return import_module(f"minihs.lab.experiments.{name.replace('-', '_')}")
