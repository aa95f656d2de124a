"""A map that forgets: entries have an end, and the one that was used least recently goes when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most `max_entries` values, each until a moment of the caller's clock (any unit)."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value, or None when there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        ends, value = entry
        if now >= ends:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, ends: float = float("inf")) -> None:
        """Keep `value` until `ends`."""
        self._entries[key] = (ends, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def discard(self, key: K) -> None:
        """Forget `key`, if it is there."""
        self._entries.pop(key, None)
