"""What the servers of a real world alone know (decisions, events, when), as their laboratories tell it.

Each counts from the start of its process: what was read is not read again, and times become the world's.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from minihs.lab.real.servers import MinihsServer
from minihs.lab.transcript import Entry, Transcript
from minihs.lab.watching import Decision

DECISIONS, TRANSCRIPT = "/decisions", "/transcript"


class Evidence:
    """Puts into `transcript` what servers know; keeps what they decided."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._decisions: list[Decision] = []
        self._read: dict[tuple[str, str], int] = {}

    def begun(self, server: MinihsServer) -> None:
        """A process has begun, and counts from nought."""
        for path in (DECISIONS, TRANSCRIPT):
            self._read[server.name, path] = 0

    async def gather(self, server: MinihsServer) -> None:
        """Read what is new. RuntimeError, RequestFailed."""
        for decision in msgspec.convert(await self._new(server, DECISIONS, "decisions"), list[Decision]):
            at_ms = decision.at_ms + server.began_ms
            self._decisions.append(replace(decision, server=server.name, at_ms=at_ms))
        for entry in msgspec.convert(await self._new(server, TRANSCRIPT, "entries"), list[Entry]):
            at_ms = entry.at_ms + server.began_ms
            self._transcript.entries.append(replace(entry, place=server.name, at_ms=at_ms))
        self._transcript.entries.sort(key=lambda entry: entry.at_ms)

    def decisions(self) -> list[Decision]:
        """What was read so far, in the order of the world's time."""
        return sorted(self._decisions, key=lambda decision: decision.at_ms)

    async def _new(self, server: MinihsServer, path: str, name: str) -> list[Any]:
        found: list[Any] = []
        while True:
            since = self._read.get((server.name, path), 0)
            reply = await server.lab("GET", f"{path}?from={since}")
            self._read[server.name, path] = reply["next"]
            if not reply[name]:
                return found
            found += reply[name]
