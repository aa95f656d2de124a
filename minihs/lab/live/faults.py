"""The faults of a server's ways to and from others: a table by server, as `/_minihs/lab/v1/faults` shows it.

What a fault does to bytes is in `conditions` and `network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from minihs.lab.conditions import Conditions, Link, Millis, Path
from minihs.platform.entropy import Entropy

ANYBODY = "*"
"""Instead of a server name: every server that has no faults of its own."""
MAX_SERVERS = 1_000


class Way(Conditions, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One direction, as it is asked for: what it is like, and whether it is cut."""

    latency_ms: Millis = 0.0
    cut: Literal["silent", "refusing"] | None = None

    def apply(self, path: Path) -> None:
        """Let a path be like this."""
        path.state = Link.UP if self.cut is None else Link(self.cut)
        path.conditions = self


class Faults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is wrong with the ways between this server and another."""

    outgoing: Way = Way()
    incoming: Way = Way()


NONE = Faults()


class Ways(msgspec.Struct, frozen=True):
    """The two directions between this server and one that answers to any of `names`."""

    names: tuple[str, ...]
    outgoing: Path
    incoming: Path


class FaultTable:
    """Faults by server name. `changed` is called after every change."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._faults: dict[str, Faults] = {}
        self._ways: dict[tuple[str, ...], Ways] = {}
        self.changed: Callable[[], None] = lambda: None

    def all(self) -> Mapping[str, Faults]:
        """What is set, by server name, sorted."""
        return {name: self._faults[name] for name in sorted(self._faults)}

    def set(self, server: str, faults: Faults) -> None:
        """Replace what is wrong with the ways to and from a server. LookupError when there are too many."""
        if server not in self._faults and len(self._faults) >= MAX_SERVERS:
            raise LookupError(server)
        self._faults[server] = faults
        self._apply()

    def clear(self, server: str | None = None) -> bool:
        """Mend the ways to and from a server, or all; whether anything was wrong."""
        if server is None:
            found = bool(self._faults)
            self._faults.clear()
        else:
            found = self._faults.pop(server, None) is not None
        self._apply()
        return found

    def ways(self, *names: str) -> Ways:
        """The ways to a server that is known by any of these names."""
        ways = self._ways.get(names)
        if ways is None:
            ways = Ways(names, Path(self._entropy, Conditions()), Path(self._entropy, Conditions()))
            self._ways[names] = ways
            self._fit(ways)
        return ways

    def _apply(self) -> None:
        for ways in self._ways.values():
            self._fit(ways)
        self.changed()

    def _fit(self, ways: Ways) -> None:
        found = next((self._faults[name] for name in (*ways.names, ANYBODY) if name in self._faults), NONE)
        found.outgoing.apply(ways.outgoing)
        found.incoming.apply(ways.incoming)
