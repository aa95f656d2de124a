"""The order of due sends: those of one room get their places in it in the order in which they were begun.

Each send reads what it needs first, and a store may answer a later one sooner. Where the store answers at
once, nobody ever waits here. Futures specification, 1, promise 6.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from minihs.events.ids import RoomID
from minihs.platform.clock import Clock


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
            earlier.waiting.append(waiting)
            await waiting

    def end(self, turn: Turn) -> None:
        """The event has its place or will get none, or others need not wait for it; may be repeated."""
        self._turns.pop(turn, None)
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
    """One send's turn. `room_id` is None until it is known; those in `waiting` hear of every change."""

    __slots__ = ("room_id", "waiting")

    def __init__(self) -> None:
        self.room_id: RoomID | None = None
        self.waiting: list[Deferred[None]] = []
