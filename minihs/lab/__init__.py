"""Several servers in one process, on a virtual clock and a network that exists only in memory.

`from minihs.lab import World`; `docs/lab.md` has a first experiment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minihs.lab.world import World

__all__ = ["World"]


def __getattr__(name: str) -> Any:
    # A command line that only lists experiments need not load a whole homeserver.
    if name == "World":
        from minihs.lab.world import World

        return World
    raise AttributeError(name)
