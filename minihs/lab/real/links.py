"""The ways between the servers of a real world, and what the laboratory of each is told of them.

A way is made bad by its source; where that is a Synapse, by its target. Cuts are made at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from minihs.lab.conditions import changed
from minihs.lab.live.faults import NONE, Faults, Way
from minihs.lab.names import named
from minihs.lab.real import NotInRealWorlds
from minihs.lab.real.servers import RealServer


class RealLinks:
    """The faults between `servers`, by source and target; `tell` has the laboratories know of them."""

    def __init__(
        self, servers: Mapping[str, RealServer], people: Collection[str], tell: Callable[[], None]
    ) -> None:
        self._servers = servers
        self._people = people
        self._tell = tell
        self._ways: dict[tuple[str, str], Way] = {}
        self._slow: dict[str, float] = {}

    def end(self, name: str) -> str:
        """NotInRealWorlds for people."""
        if name in self._people:
            raise NotInRealWorlds(f"{name} is a person: real links are those between servers.")
        return named("server", name, self._servers).name

    def cut(self, source: str, target: str, *, silent: bool) -> None:
        self._set(source, target, replace(self._way(source, target), cut="silent" if silent else "refusing"))

    def mend(self, names: Sequence[str]) -> None:
        for (source, target), way in list(self._ways.items()):
            if not names or (source in names and target in names):
                self._ways[source, target] = replace(way, cut=None)

    def change(self, source: str, target: str, **changes: Any) -> None:
        self._set(source, target, changed(self._way(source, target), **changes))

    def slow_down(self, name: str, ms: float) -> None:
        changed(Way(), latency_ms=ms)
        self._slow[name] = self._slow.get(name, 0.0) + ms

    def changed(self) -> None:
        self._tell()

    def cuts(self) -> list[str]:
        """The ways that are cut, in words."""
        ways = sorted(self._ways.items())
        return [f"  the way {one} → {other} is {way.cut}" for (one, other), way in ways if way.cut]

    def faults(self, server: RealServer) -> dict[str, Faults]:
        """What the laboratory of a server is told of every other, by server name."""
        told = {}
        for other in self._servers.values():
            if other is not server:
                back = self._slowed(other.name, server.name)
                if other.shares_time:
                    back = Way(cut=back.cut)
                outgoing = self._slowed(server.name, other.name)
                told[other.server_name] = replace(NONE, outgoing=outgoing, incoming=back)
        return told

    def _set(self, source: str, target: str, way: Way) -> None:
        if not any(self._servers[name].shares_time for name in (source, target)):
            raise NotInRealWorlds(f"{source} and {target} are Synapses: nothing of ours is between them.")
        self._ways[source, target] = way

    def _slowed(self, source: str, target: str) -> Way:
        way = self._way(source, target)
        slower_ms = self._slow.get(source, 0.0) + self._slow.get(target, 0.0)
        return replace(way, latency_ms=way.latency_ms + slower_ms)

    def _way(self, source: str, target: str) -> Way:
        return self._ways.get((source, target), Way())
