"""Tokens of `/sync` and of pagination: one position in each stream. Nothing is looked up here.

Client-Server API, "Syncing": opaque to clients, and valid for as long as the client keeps one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from minihs.homeserver.errors import InvalidParam

EVENTS = "e"
RECEIPTS = "r"
TYPING = "t"
ACCOUNT_DATA = "a"

MAX_TOKEN_LENGTH = 1024
_PART = re.compile(r"([a-z]{1,8})(-?[0-9]{1,18})")


class StreamToken(msgspec.Struct, frozen=True):
    """A moment, as one position in each stream.

    `positions` holds pairs (stream name, position), sorted by name. A stream that a token does not name
    stands at 0, so tokens from before a stream existed stay good; one that this server does not know (any
    more) is kept, so that it goes on where it was when the stream comes back.
    """

    positions: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, positions: Mapping[str, int]) -> StreamToken:
        """The token with these positions."""
        return cls(tuple(sorted(positions.items())))

    @classmethod
    def at_event(cls, position: int) -> StreamToken:
        """A token for pagination, which asks for nothing but a place among the events."""
        return cls(((EVENTS, position),))

    @classmethod
    def parse(cls, text: str, name: str = "since") -> StreamToken:
        """The token that `str()` of it gave; raises InvalidParam, naming the parameter `name`."""
        positions: dict[str, int] = {}
        if len(text) <= MAX_TOKEN_LENGTH:
            for part in text.split("_"):
                match = _PART.fullmatch(part)
                if match is None or match[1] in positions:
                    break
                positions[match[1]] = int(match[2])
            else:
                if EVENTS in positions:
                    return cls.of(positions)
        raise InvalidParam(
            f"`{name}` is not a token of this server: pass a next_batch, prev_batch, start or end as it came."
        )

    def __getitem__(self, stream: str) -> int:
        for name, position in self.positions:
            if name == stream:
                return position
        return 0

    @property
    def event(self) -> int:
        """The position among the events: those up to and including it lie before the token."""
        return self[EVENTS]

    def moved_to(self, positions: Mapping[str, int]) -> StreamToken:
        """This token with these streams at new positions, and the others where they are."""
        return StreamToken.of({**dict(self.positions), **positions})

    def __str__(self) -> str:
        return "_".join(f"{name}{position}" for name, position in self.positions)
