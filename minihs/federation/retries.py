"""Which servers are left alone for a while, and until when: one table for everybody who sends requests.

The arithmetic is pure (`next_pause`); the table keeps time and tells its listeners. What is stored, and when,
is for `sender` to know.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from minihs.events.ids import ServerName
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, fraction

MAX_SERVERS = 20_000
"""Failing servers that are remembered; beyond it, the one that failed longest ago is forgotten."""
JITTER = 0.2
"""A pause is up to this part shorter than its interval, so that many do not come back at the same instant."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """The first pause after a failure, and the longest; each pause is twice the one before."""

    initial_ms: int
    max_ms: int


class Pause(msgspec.Struct, frozen=True):
    """One server's back-off. `failing_since_ms` is wall time, `retry_at_ms` monotonic."""

    failing_since_ms: int
    retry_at_ms: float
    interval_ms: int
    last_attempt_ms: float


def next_pause(
    before: Pause | None,
    policy: RetryPolicy,
    *,
    wall_ms: int,
    now_ms: float,
    jitter: float,
    least_ms: int = 0,
) -> Pause:
    """The pause after a failure at `now_ms`; `jitter` in [0, 1); `least_ms`: what the other side asks."""
    interval = policy.initial_ms if before is None else min(before.interval_ms * 2, policy.max_ms)
    wait = max(interval * (1 - JITTER * jitter), min(least_ms, policy.max_ms))
    since = wall_ms if before is None else before.failing_since_ms
    return Pause(since, now_ms + wait, interval, now_ms)


class RetryTable:
    """The back-off of every server that fails."""

    def __init__(self, policy: RetryPolicy, clock: Clock, entropy: Entropy) -> None:
        self._policy = policy
        self._clock = clock
        self._entropy = entropy
        self._pauses: OrderedDict[ServerName, Pause] = OrderedDict()
        self._listeners: list[Callable[[ServerName], None]] = []

    def listen(self, changed: Callable[[ServerName], None]) -> None:
        """Call `changed` whenever a server's pause begins, grows, shrinks or ends."""
        self._listeners.append(changed)

    def count(self) -> int:
        """How many servers fail at present."""
        return len(self._pauses)

    def pause_of(self, server_name: ServerName) -> Pause | None:
        """The pause, also when its time is over and nothing has been tried since; None for a good server."""
        return self._pauses.get(server_name)

    def retry_at_ms(self, server_name: ServerName) -> float | None:
        """The monotonic time until which the server is left alone; None when it is not."""
        pause = self._pauses.get(server_name)
        if pause is None or pause.retry_at_ms <= self._clock.monotonic_ms():
            return None
        return pause.retry_at_ms

    def failed(self, server_name: ServerName, *, least_ms: int = 0) -> None:
        """A request failed. Failures of requests that ran side by side count once."""
        if self.retry_at_ms(server_name) is not None:
            return
        pause = next_pause(
            self._pauses.get(server_name),
            self._policy,
            wall_ms=self._clock.wall_ms(),
            now_ms=self._clock.monotonic_ms(),
            jitter=fraction(self._entropy),
            least_ms=least_ms,
        )
        self._put(server_name, pause)

    def succeeded(self, server_name: ServerName) -> None:
        """A request was answered."""
        if self._pauses.pop(server_name, None) is not None:
            self._tell(server_name)

    def sign_of_life(self, server_name: ServerName) -> None:
        """The server was heard of: try again at once, but not more often than after the first pause.

        Hearing of a server does not prove that it can be reached, so the interval keeps growing until
        a request succeeds.
        """
        pause = self._pauses.get(server_name)
        if pause is None:
            return
        earliest = pause.last_attempt_ms + min(self._policy.initial_ms, pause.interval_ms)
        if earliest < pause.retry_at_ms:
            self._put(
                server_name,
                replace(pause, retry_at_ms=max(earliest, self._clock.monotonic_ms())),
            )

    def restore(
        self, server_name: ServerName, *, failing_since_ms: int, retry_at_wall_ms: int, interval_ms: int
    ) -> None:
        """Put back what was stored before a restart. Tells nobody.

        A wall clock that was set back meanwhile makes nobody wait longer than the interval.
        """
        now_ms = self._clock.monotonic_ms()
        wait = min(max(0, retry_at_wall_ms - self._clock.wall_ms()), interval_ms)
        self._pauses[server_name] = Pause(failing_since_ms, now_ms + wait, interval_ms, float("-inf"))

    def wall_ms_of(self, pause: Pause) -> int:
        """The wall time at which the pause ends, as the clocks stand now."""
        return self._clock.wall_ms() + round(pause.retry_at_ms - self._clock.monotonic_ms())

    def _put(self, server_name: ServerName, pause: Pause) -> None:
        self._pauses[server_name] = pause
        self._pauses.move_to_end(server_name)
        if len(self._pauses) > MAX_SERVERS:
            self._pauses.popitem(last=False)
        self._tell(server_name)

    def _tell(self, server_name: ServerName) -> None:
        for changed in self._listeners:
            changed(server_name)
