"""A bounded cache that forgets what was used longest ago."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """A mapping of at most `capacity` entries; a dict keeps the order of last use."""

    __slots__ = ("_capacity", "_entries")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used one; None when it is not there."""
        value = self._entries.pop(key, None)
        if value is not None:
            self._entries[key] = value
        return value

    def put(self, key: K, value: V) -> None:
        """Add or replace; the least recently used entry makes room."""
        entries = self._entries
        entries.pop(key, None)
        entries[key] = value
        if len(entries) > self._capacity:
            del entries[next(iter(entries))]

    def discard(self, key: K) -> None:
        """Forget the entry if it is there."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
