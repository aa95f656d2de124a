"""What the way from one machine to another is like: latency, loss, duplicates, cuts; drawn from a seed.

Every direction has its own. TCP hides loss and reordering of packets from programs and shows them as delay,
so that is what they are here; what programs do see is a broken connection, silence, and a request that
arrives twice because something on the way repeated it.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, TypeVar

import msgspec

from minihs.lab.names import UnknownName
from minihs.platform.entropy import Entropy, fraction

RETRANSMIT_MS = 200.0
"""TCP's first pause before it sends a segment again (RFC 6298 asks for one second, systems use 200 ms); it
doubles each time."""

MAX_RETRANSMITS = 6
"""After so many losses of one segment in a row the connection is given up: 12.6 s."""


MAX_MS = 86_400_000

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Millis = Annotated[float, msgspec.Meta(ge=0, le=MAX_MS)]
Rate = Annotated[float, msgspec.Meta(gt=0)]


class Link(Enum):
    """Whether anything gets through in one direction."""

    UP = "up"
    REFUSING = "refusing"  # connections break, new ones fail at once
    SILENT = "silent"  # nothing arrives and nobody says so; what was sent arrives when the link is mended


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """One direction between two machines. Times in milliseconds, shares between 0 and 1."""

    latency_ms: Millis = 0.5
    jitter_ms: Millis = 0.0
    """Up to so much more, evenly; connections overtake one another by it."""
    loss: Share = 0.0
    """Share of segments that are lost and sent again after a pause."""
    reordered: Share = 0.0
    """Share of segments that are held back for another three latencies, behind what was sent after them on
    other connections."""
    duplicated: Share = 0.0
    """Share of connections whose every request arrives a second time, later."""
    broken: Share = 0.0
    """Share of segments with which the connection breaks: whoever sent them cannot know what arrived."""
    bytes_per_s: Rate | None = None
    """What the line carries; None: more than anybody sends."""


C = TypeVar("C", bound=Conditions)


def changed(conditions: C, **changes: Any) -> C:
    """The same with other values. UnknownName for a condition that there is not, ValueError for a value that
    it cannot have."""
    for name in changes:
        if name not in Conditions.__struct_fields__:
            raise UnknownName("condition", name, Conditions.__struct_fields__)
    try:
        return msgspec.convert({**msgspec.structs.asdict(conditions), **changes}, type(conditions))
    except msgspec.ValidationError as error:
        told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        raise ValueError(f"No way is like that ({told}): {error}.") from error


class Path:
    """One direction between two machines, as a connection uses it."""

    def __init__(self, entropy: Entropy, conditions: Conditions) -> None:
        self.conditions = conditions
        self.state = Link.UP
        self._entropy = entropy

    @property
    def up(self) -> bool:
        """Whether anything gets through."""
        return self.state is Link.UP

    def travel_ms(self, count: int) -> float | None:
        """How long a segment of `count` bytes takes; None when the connection breaks on it."""
        conditions = self.conditions
        travel_ms = conditions.latency_ms
        if conditions.bytes_per_s is not None:
            travel_ms += count * 1000 / conditions.bytes_per_s
        if conditions.jitter_ms:
            travel_ms += conditions.jitter_ms * fraction(self._entropy)
        if conditions.reordered and fraction(self._entropy) < conditions.reordered:
            travel_ms += 3 * conditions.latency_ms
        if conditions.broken and fraction(self._entropy) < conditions.broken:
            return None
        lost = 0
        while conditions.loss and fraction(self._entropy) < conditions.loss:
            if lost == MAX_RETRANSMITS:
                return None
            travel_ms += RETRANSMIT_MS * 2**lost
            lost += 1
        return travel_ms

    def repeats(self) -> bool:
        """Whether what is sent on a new connection arrives twice."""
        return bool(self.conditions.duplicated) and fraction(self._entropy) < self.conditions.duplicated
