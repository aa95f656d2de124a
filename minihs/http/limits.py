"""Rate limits: how many requests of a kind one user, address or future may make. The one table of numbers.

Source: client-server API, "Rate limiting". The limits say what this server puts up with, not what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from minihs.homeserver.errors import LimitExceeded
from minihs.platform.clock import Clock

MAX_KEYS_PER_BUCKET = 20_000
"""How many users or addresses one bucket remembers; at some 150 bytes each, 3 MB in the worst case."""


class Limit(msgspec.Struct, frozen=True):
    """A token bucket: `burst` requests at once, then `per_second` for ever."""

    per_second: float
    burst: int
    charged_to: str = ""
    """Whose bucket it is, and for what: for `docs/settings.md`."""


DEFAULT_LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "login": Limit(1.0, 20, "address: attempts to log in"),
        "login_failures": Limit(0.1, 10, "account: wrong passwords, wherever they come from"),
        "registration": Limit(0.2, 10, "address: new accounts, names asked for"),
        "account": Limit(0.5, 20, "user: password, deactivation, deleting devices"),
        "profile": Limit(1.0, 20, "user: each change goes into all their rooms"),
        "account_data": Limit(5.0, 100, "user: account data, tags, push rules, filters"),
        "create_room": Limit(0.5, 20, "user: new rooms and upgrades"),
        "join": Limit(1.0, 30, "user: join and knock"),
        "membership": Limit(5.0, 100, "user: invite, leave, kick, ban, unban, forget"),
        "send": Limit(20.0, 200, "user: events into rooms, state and redactions"),
        "ephemeral": Limit(10.0, 100, "user: typing, receipts, read markers"),
        "directory": Limit(5.0, 50, "user: aliases, public rooms"),
        "remote": Limit(2.0, 50, "user: what makes us ask another server"),
        "read": Limit(50.0, 500, "user: anything that only reads, when its route asks for a limit"),
        "futures_schedule": Limit(10.0, 120, "user: `futures.max_scheduled` fits in a burst"),
        "futures_manage": Limit(20.0, 200, "user: restart, cancel, send with an access token"),
        "futures_action": Limit(2.0, 20, "future: the same by its ID or token alone"),
        "futures_due": Limit(20.0, 200, "user: due sends; the burst is at least `futures.max_scheduled`"),
        "futures_address": Limit(50.0, 500, "address: many participants of a call share one"),
        "federation": Limit(100.0, 1000, "server: signed requests"),
        "federation_open": Limit(20.0, 200, "address: unsigned requests for keys and the version"),
    }
)
"""Every bucket. `[rate_limits]` in the settings replaces single rows; `rate_limits.enabled = false` all."""


def limits_with(overrides: Mapping[str, tuple[float, int]]) -> dict[str, Limit]:
    """The table with other numbers, (per second, burst), in some rows; ValueError for a row it lacks."""
    limits = dict(DEFAULT_LIMITS)
    for name, (per_second, burst) in overrides.items():
        if name not in limits:
            raise ValueError(f"there is no rate limit called {name}; there are: {', '.join(sorted(limits))}")
        if not per_second > 0 or burst < 1:
            raise ValueError(f"the rate limit {name} takes [per second > 0, burst >= 1]")
        limits[name] = Limit(per_second, burst, limits[name].charged_to)
    return limits


class RateLimiter:
    """Token buckets by (name, key), kept as one number each: the time at which the bucket is full again."""

    def __init__(
        self,
        clock: Clock,
        limits: Mapping[str, Limit] = DEFAULT_LIMITS,
        *,
        enabled: bool = True,
        max_keys: int = MAX_KEYS_PER_BUCKET,
    ) -> None:
        self._clock = clock
        self._limits = dict(limits)
        self._enabled = enabled
        self._max_keys = max_keys
        self._full_at_ms: dict[str, dict[str, float]] = {name: {} for name in limits}

    def knows(self, bucket: str) -> bool:
        """Whether there is a bucket of that name."""
        return bucket in self._limits

    def charge(self, bucket: str, key: str, cost: int = 1) -> None:
        """Take `cost` tokens; LimitExceeded, with the wait until it would pass, when there are too few."""
        wait_ms = self._take(bucket, key, cost)
        if wait_ms:
            raise LimitExceeded("Too many requests. Wait before you try again.", wait_ms)

    def check(self, bucket: str, key: str) -> None:
        """LimitExceeded when not even one token is left; takes nothing."""
        wait_ms = self._take(bucket, key, 1, keep=True)
        if wait_ms:
            raise LimitExceeded("Too many requests. Wait before you try again.", wait_ms)

    def _take(self, bucket: str, key: str, cost: int, *, keep: bool = False) -> int:
        """Milliseconds to wait, 0 when the tokens were there (and, unless `keep`, are taken)."""
        limit = self._limits[bucket]
        if not self._enabled:
            return 0
        now_ms = self._clock.monotonic_ms()
        token_ms = 1000 / limit.per_second
        entries = self._full_at_ms[bucket]
        full_at_ms = max(entries.get(key, now_ms), now_ms) + cost * token_ms
        wait_ms = full_at_ms - now_ms - limit.burst * token_ms
        if wait_ms > 1e-6:  # a millionth of a millisecond is rounding
            return math.ceil(wait_ms)
        if not keep:
            entries.pop(key, None)
            entries[key] = full_at_ms
            if len(entries) > self._max_keys:
                self._make_room(entries, now_ms)
        return 0

    def _make_room(self, entries: dict[str, float], now_ms: float) -> None:
        """Forget full buckets, which say nothing; failing that, the quarter that was used least recently."""
        for key in [key for key, full_at_ms in entries.items() if full_at_ms <= now_ms]:
            del entries[key]
        if len(entries) > self._max_keys * 3 // 4:
            for key in list(entries)[: len(entries) - self._max_keys * 3 // 4]:
                del entries[key]
