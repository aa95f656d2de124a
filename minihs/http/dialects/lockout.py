"""The lock-out of guessers: after several unknown tokens in a row an address waits.

No rate limit: it holds also when those are off, and good tokens go on working. Futures specification, 2.4.
"""

from __future__ import annotations

import math

from minihs.http.errors import MatrixError
from minihs.platform.clock import Clock

UNKNOWN_IN_A_ROW = 5
"""Text 4 calls it N."""

LOCKED_MS = 10_000
"""Text 4 calls it T."""

MAX_ADDRESSES = 20_000


class TokenLockout:
    """Counts unknown tokens by address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._locked_until_ms: dict[str, float] = {}

    def unknown(self, address: str) -> MatrixError:
        """The answer to an unknown token: 410, or 429 when there were too many."""
        now_ms = self._clock.monotonic_ms()
        until_ms = self._locked_until_ms.get(address)
        if until_ms is not None:
            if now_ms < until_ms:
                return _wait(math.ceil(until_ms - now_ms))
            del self._locked_until_ms[address]
        count = self._counts.pop(address, 0) + 1
        if count < UNKNOWN_IN_A_ROW:
            self._counts[address] = count
            _bound(self._counts)
        else:
            self._locked_until_ms[address] = now_ms + LOCKED_MS
            _bound(self._locked_until_ms)
        return MatrixError(410, "M_NOT_FOUND", "This token is not known, or no longer.")

    def good(self, address: str) -> None:
        """A good token was given: the count starts again."""
        self._counts.pop(address, None)


def _wait(wait_ms: int) -> MatrixError:
    return MatrixError(
        429,
        "M_LIMIT_EXCEEDED",
        "Too many unknown tokens. Wait before you try again.",
        extra={"retry_after_ms": wait_ms},
        headers={"Retry-After": str(-(-wait_ms // 1000))},
    )


def _bound(entries: dict[str, int] | dict[str, float]) -> None:
    if len(entries) > MAX_ADDRESSES:
        del entries[next(iter(entries))]
