"""The ways between the servers of a real world, and what the laboratory of each is told of them.

A way is made bad by its source; where that is a Synapse, by its target. Cuts are made at both ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from minihs.lab.live.faults import NONE, Faults, Way
from minihs.lab.names import UnknownName
from minihs.lab.real import NotInRealWorlds
from minihs.lab.real.servers import RealServer


class Links:
    """The faults between `servers`, by source and target."""

    def __init__(self, servers: Mapping[str, RealServer]) -> None:
        self._servers = servers
        self._ways: dict[tuple[str, str], Way] = {}

    def change(self, source: str, target: str, **changes: Any) -> None:
        """Change the way from one server to another. UnknownName for a condition that there is not,
        NotInRealWorlds between two Synapses."""
        if not any(self._servers[name].shares_time for name in (source, target)):
            raise NotInRealWorlds(f"{source} and {target} are Synapses: nothing of ours is between them.")
        for name in changes:
            if name not in Way.__struct_fields__:
                raise UnknownName("condition", name, Way.__struct_fields__)
        self._ways[source, target] = replace(self._way(source, target), **changes)

    def cut(self, source: str, target: str, *, silent: bool) -> None:
        """Nothing gets through, in this direction."""
        self.change(source, target, cut="silent" if silent else "refusing")

    def slow_down(self, name: str, ms: float) -> None:
        """Everything to and from a server takes so much longer."""
        for other in self._servers:
            if other != name:
                for source, target in ((name, other), (other, name)):
                    self.change(source, target, latency_ms=self._way(source, target).latency_ms + ms)

    def heal(self, names: Collection[str]) -> None:
        """Mend the cuts between these servers."""
        for (source, target), way in list(self._ways.items()):
            if source in names and target in names:
                self._ways[source, target] = replace(way, cut=None)

    def cuts(self) -> list[str]:
        """The ways that are cut, in words."""
        ways = sorted(self._ways.items())
        return [f"the way {one} → {other} is {way.cut}" for (one, other), way in ways if way.cut]

    def faults(self, server: RealServer) -> dict[str, Faults]:
        """What the laboratory of a server is told of every other, by server name."""
        told = {}
        for other in self._servers.values():
            if other is not server:
                back = self._way(other.name, server.name)
                if other.shares_time:
                    back = Way(cut=back.cut)
                outgoing = self._way(server.name, other.name)
                told[other.server_name] = replace(NONE, outgoing=outgoing, incoming=back)
        return told

    def _way(self, source: str, target: str) -> Way:
        return self._ways.get((source, target), Way())
