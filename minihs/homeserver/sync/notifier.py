"""Wakes the long polls of the users concerned. What there is to say to them, others find out.

Nobody is woken inside the call that reports something new: those who are due are answered in turns of the
event loop, so a busy room with many watchers holds nobody else up, and what became durable together is
answered together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from minihs.events.ids import UserID
from minihs.platform.clock import Clock

WAKES_PER_TURN = 16
"""Answers in one turn of the event loop: about 5 ms of work."""


class Waiter:
    """One request that wants to hear of news for one user; open it before looking, close it at the end."""

    __slots__ = ("_notifier", "_timer", "_waiting", "news", "user_id")

    def __init__(self, notifier: Notifier, user_id: UserID) -> None:
        self._notifier = notifier
        self._waiting: Deferred[bool] | None = None
        self._timer: Any = None
        self.user_id = user_id
        self.news = False

    def wait(self, timeout_ms: float) -> Deferred[bool]:
        """Fires with True as soon as there is news since the last wait (or the start), with False when
        `timeout_ms` have passed without. Cancelling it is allowed."""
        waiting: Deferred[bool] = Deferred(lambda _: self._forget())
        if self.news:
            self.news = False
            waiting.callback(True)
            return waiting
        self._waiting = waiting
        self._timer = self._notifier.clock.call_later(timeout_ms, self.finish, False)
        return waiting

    def finish(self, news: bool) -> None:
        """Answer a wait that is under way; nothing happens when there is none."""
        waiting = self._waiting
        if waiting is not None:
            self._forget()
            if news:
                self.news = False
            waiting.callback(news)

    def close(self) -> None:
        """Stop listening."""
        self._forget()
        self._notifier.discard(self)

    def _forget(self) -> None:
        timer, self._timer, self._waiting = self._timer, None, None
        if timer is not None and timer.active():
            timer.cancel()


class Notifier:
    """Everybody who waits, by user."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._waiters: dict[UserID, list[Waiter]] = {}
        self._due: deque[Waiter] = deque()
        self._turn_planned = False

    def listen(self, user_id: UserID) -> Waiter:
        """A waiter that notes news for the user from now on."""
        waiter = Waiter(self, user_id)
        self._waiters.setdefault(user_id, []).append(waiter)
        return waiter

    def discard(self, waiter: Waiter) -> None:
        """Forget a waiter; called by its `close`."""
        waiters = self._waiters.get(waiter.user_id)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[waiter.user_id]

    def wake(self, user_ids: Iterable[UserID]) -> None:
        """There is something new for these users; those who do not listen are passed over."""
        for user_id in user_ids:
            for waiter in self._waiters.get(user_id, ()):
                if not waiter.news:
                    waiter.news = True
                    self._due.append(waiter)
        if self._due and not self._turn_planned:
            self._turn_planned = True
            self.clock.call_later(0, self._turn)

    def release_all(self) -> None:
        """Answer every wait as if its time had passed: the server is stopping."""
        for user_id in sorted(self._waiters):
            for waiter in tuple(self._waiters[user_id]):
                waiter.finish(False)

    def is_listening(self, user_id: UserID) -> bool:
        """Whether a request listens for this user now."""
        return user_id in self._waiters

    @property
    def listening(self) -> int:
        """How many requests listen now."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def _turn(self) -> None:
        self._turn_planned = False
        due = self._due
        for _ in range(min(WAKES_PER_TURN, len(due))):
            due.popleft().finish(True)
        if due and not self._turn_planned:
            self._turn_planned = True
            self.clock.call_later(0, self._turn)
