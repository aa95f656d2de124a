"""Passwords: what is accepted as one, and Argon2 off the main thread.

Who logs in with them, and how often they may try, is decided elsewhere.
"""

from __future__ import annotations

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from minihs.homeserver.errors import HomeserverError
from minihs.platform.entropy import Entropy
from minihs.platform.workers import Workers

MAX_PASSWORD_BYTES = 1024
"""Longer ones are refused: they add nothing but work."""
_SALT_BYTES = 16


class WeakPassword(HomeserverError):
    """Not acceptable as a new password (400 `M_WEAK_PASSWORD`)."""


class PasswordCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one guess costs. The default is OWASP's recommendation for Argon2id: 19 MiB, two passes."""

    passes: int = 2
    memory_kib: int = 19 * 1024


class Passwords:
    """Hashes and verifies; `workers` takes the time, `entropy` gives the salts."""

    def __init__(
        self, workers: Workers, entropy: Entropy, cost: PasswordCost | None = None, *, min_length: int = 8
    ) -> None:
        self._min_length = min_length
        self._workers = workers
        self._entropy = entropy
        self._cost = cost or PasswordCost()
        self._hasher = PasswordHasher(
            time_cost=self._cost.passes, memory_cost=self._cost.memory_kib, parallelism=1
        )

    def check_new(self, password: str) -> None:
        """WeakPassword unless `password` may be set."""
        if len(password) < self._min_length:
            raise WeakPassword(f"A password has at least {self._min_length} characters.")
        if len(password.encode("utf-8")) > MAX_PASSWORD_BYTES:
            raise WeakPassword(f"A password has at most {MAX_PASSWORD_BYTES} bytes.")

    async def hash(self, password: str) -> str:
        """The hash to store, in Argon2's own encoding, with its parameters and a new salt."""
        salt = self._entropy.token_bytes(_SALT_BYTES)
        return await self._workers.run(self._hasher.hash, password, salt=salt)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password. With no hash (no such user) it takes as long to say no."""
        if len(password.encode("utf-8")) > MAX_PASSWORD_BYTES:
            return False
        if password_hash is None:
            await self.hash(password)
            return False
        return await self._workers.run(self._matches, password, password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
