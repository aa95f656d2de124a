"""The order of due sends: those of one room get their places in it in the order in which they were begun.

Each send reads what it needs first, and a store may answer a later one sooner. Where the store answers at
once, nobody ever waits here. Who needs another server, which may be away, loses the place when others have
waited for a while. Futures specification, 1, promise 6.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from minihs.events.ids import RoomID
from minihs.platform.clock import Clock

PATIENCE_MS = 1_000
"""How long a send is waited for by others: far beyond what any store takes."""


class SendOrder:
    """Gives out turns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turns: dict[Turn, None] = {}

    def begin(self) -> Turn:
        """The turn of a send that is begun now; `end` must be called for it."""
        turn = Turn()
        self._turns[turn] = None
        return turn

    async def come(self, turn: Turn, room_id: RoomID) -> None:
        """Wait until every send that was begun earlier has its place in this room, or goes to another."""
        turn.room_id = room_id
        self._go_on(turn)
        while (earlier := self._earlier(turn)) is not None:
            waiting: Deferred[None] = Deferred()
            if earlier.patience is None:
                earlier.patience = self._clock.call_later(PATIENCE_MS, self.end, earlier)
            earlier.waiting.append(waiting)
            await waiting

    def end(self, turn: Turn) -> None:
        """The event has its place or will get none, or others need not wait for it; may be repeated."""
        self._turns.pop(turn, None)
        if turn.patience is not None and turn.patience.active():
            turn.patience.cancel()
        self._go_on(turn)

    def _earlier(self, turn: Turn) -> Turn | None:
        for other in self._turns:
            if other is turn:
                return None
            if other.room_id is None or other.room_id == turn.room_id:
                return other
        return None  # the turn itself has ended

    def _go_on(self, turn: Turn) -> None:
        # Not at once: the event that ends a turn is just about to get its place.
        waiting, turn.waiting = turn.waiting, []
        for one in waiting:
            self._clock.call_later(0, one.callback, None)


class Turn:
    """One send's turn. `room_id` is None until it is known; those in `waiting` hear of every change, and have
    `patience` with it."""

    __slots__ = ("patience", "room_id", "waiting")

    def __init__(self) -> None:
        self.room_id: RoomID | None = None
        self.waiting: list[Deferred[None]] = []
        self.patience: Any = None  # Twisted types its timers by an interface that mypy cannot read
