"""Streams: the numbered order in which things became durable.

`/sync` tokens and the cursors of federation are made of their positions.
"""

from __future__ import annotations

from collections.abc import Callable


class Stream:
    """One stream of positions.

    `allocate` is called when a batch is submitted; the writer commits in order of submission, so the highest
    committed position is also the one before which nothing is still to come.
    """

    def __init__(self, current: int = 0) -> None:
        self._last_allocated = current
        self._current = current
        self._listeners: list[Callable[[int], None]] = []

    @property
    def current(self) -> int:
        """The highest position that is durable."""
        return self._current

    def allocate(self) -> int:
        """The next position; the batch that uses it must be submitted before control is given away."""
        self._last_allocated += 1
        return self._last_allocated

    def committed(self, position: int) -> None:
        """Everything up to `position` is durable."""
        if position > self._current:
            self._current = position
            for listener in self._listeners:
                listener(position)

    def listen(self, listener: Callable[[int], None]) -> None:
        """Call `listener(position)` whenever `current` moves."""
        self._listeners.append(listener)
