"""Randomness: keys, IDs, tokens, salts, jitter. A seeded source makes a whole world repeatable."""

from __future__ import annotations

import base64
import os
import random
from typing import Protocol


class Entropy(Protocol):
    """A source of random bytes, and nothing else: everything random is derived from it."""

    def token_bytes(self, count: int) -> bytes:
        """`count` random bytes."""


def token_urlsafe(entropy: Entropy, count: int = 18) -> str:
    """A URL-safe token with `count` bytes (18 = 144 bits) of randomness and no padding."""
    return base64.urlsafe_b64encode(entropy.token_bytes(count)).rstrip(b"=").decode("ascii")


def token_letters(entropy: Entropy, length: int, alphabet: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ") -> str:
    """`length` letters of `alphabet` (device IDs, room localparts, key versions)."""
    return "".join(alphabet[byte % len(alphabet)] for byte in entropy.token_bytes(length))


def fraction(entropy: Entropy) -> float:
    """A number in [0, 1), for jitter and weighted choices."""
    return int.from_bytes(entropy.token_bytes(6), "big") / (1 << 48)


class SystemEntropy:
    """The operating system's generator."""

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)


class SeededEntropy:
    """Repeatable bytes for virtual worlds; never for a real server."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(str(seed))  # noqa: S311

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)
