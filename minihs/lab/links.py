"""The ways between the machines of a world, by name: how its words for the network reach what carries bytes.

`MemoryLinks` are those of a virtual world; `real.links` has those between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from minihs.lab.conditions import Link, changed
from minihs.lab.memory_network import MemoryNetwork


class Links(Protocol):
    """What can be done to ways. Names are those of machines; UnknownName for others."""

    def end(self, name: str) -> str:
        """The name, which is that of a machine whose ways can be changed."""

    def cut(self, source: str, target: str, *, silent: bool) -> None:
        """Nothing gets through, in this direction."""

    def mend(self, names: Sequence[str]) -> None:
        """Undo cuts between these machines; between all when none is named."""

    def change(self, source: str, target: str, **changes: Any) -> None:
        """Change the conditions of one direction (`conditions.changed`)."""

    def slow_down(self, name: str, ms: float) -> None:
        """Everything to and from a machine takes so much longer."""

    def changed(self) -> None:
        """All that a word of the story says was done: let it hold."""


class MemoryLinks:
    """Between servers and people in memory; `address` is that of a name."""

    def __init__(self, network: MemoryNetwork, address: Callable[[str], str]) -> None:
        self._network = network
        self._address = address
        self._slow: dict[str, float] = {}

    def end(self, name: str) -> str:
        self._address(name)
        return name

    def cut(self, source: str, target: str, *, silent: bool) -> None:
        state = Link.SILENT if silent else Link.REFUSING
        self._network.set_path(self._address(source), self._address(target), state)

    def mend(self, names: Sequence[str]) -> None:
        chosen = [self._address(name) for name in names] or list(self._network.hosts)
        for index, one in enumerate(chosen):
            for other in chosen[index + 1 :]:
                if self._network.link(one, other) is not Link.UP:
                    self._network.set_link(one, other, Link.UP)

    def change(self, source: str, target: str, **changes: Any) -> None:
        path = self._network.path(self._address(source), self._address(target))
        path.conditions = changed(path.conditions, **changes)

    def slow_down(self, name: str, ms: float) -> None:
        address = self._address(name)
        for other in self._network.hosts:
            self._slower(address, other, ms)
        self._slow[address] = self._slow.get(address, 0.0) + ms

    def joined(self, address: str) -> None:
        """A new machine is there: it, too, finds slow ones slow."""
        for slow, ms in self._slow.items():
            self._slower(slow, address, ms)

    def changed(self) -> None:
        """It holds already."""

    def _slower(self, address: str, other: str, ms: float) -> None:
        if address != other:
            for path in (self._network.path(address, other), self._network.path(other, address)):
                path.conditions = changed(path.conditions, latency_ms=path.conditions.latency_ms + ms)
