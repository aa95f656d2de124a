"""What happened in a world, in order: requests and their answers, events and where they became known, faults.

The same seed gives the same transcript, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import unquote

import msgspec

_LONG_ID = re.compile(r"([!$][\w-]{6})[\w-]{37}")
"""A hash as an ID."""


class Entry(msgspec.Struct, frozen=True):
    """One thing that happened. `at_ms` is true time since the world began."""

    at_ms: float
    kind: str
    """`say`, `request`, `event`, `refused`, `network`, `expect`."""
    place: str
    """The server or person it happened at; empty for the narrator."""
    text: str
    details: dict[str, Any] = {}


class Transcript:
    """Entries in order. Kinds in `muted` are not kept: long experiments count instead."""

    def __init__(self, now_ms: Callable[[], float], *, most: int | None = None) -> None:
        """`most` entries are kept, the first."""
        self._most = most
        self._now_ms = now_ms
        self.entries: list[Entry] = []
        self.muted: frozenset[str] = frozenset()

    def add(self, kind: str, place: str, text: str, **details: Any) -> None:
        """Write down that something happened now."""
        if kind not in self.muted and len(self.entries) != self._most:
            self.entries.append(Entry(self._now_ms(), kind, place, text, details))

    def mute(self, *kinds: str) -> None:
        """Keep entries of these kinds no more."""
        self.muted = self.muted | frozenset(kinds)

    def lines(self, kinds: Collection[str] = (), *, last: int | None = None) -> list[str]:
        """The entries as lines of text."""
        chosen = [entry for entry in self.entries if not kinds or entry.kind in kinds]
        if last is not None:
            chosen = chosen[-last:]
        return [line(entry) for entry in chosen]

    def to_json(self) -> bytes:
        """Every entry, one on each line."""
        return msgspec.json.Encoder(order="deterministic").encode_lines(self.entries)


def line(entry: Entry) -> str:
    """One entry as text: time, place, what."""
    return f"{clock_time(entry.at_ms)}  {entry.place:<8} {readable(entry.text)}"


def readable(text: str) -> str:
    """Without what makes paths hard to read: escapes, and IDs longer than it takes to tell them apart."""
    return _LONG_ID.sub(r"\1…", unquote(text))


def clock_time(ms: float) -> str:
    """Time since the beginning, such as `1d 02:03:04.005`."""
    whole = round(ms)
    seconds, millis = divmod(whole, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    day = f"{days}d " if days else ""
    return f"{day}{hours:02}:{minutes:02}:{seconds:02}.{millis:03}"
