"""The room of `self_destruct` on five servers, and when each of its people was told that a text is gone.

Used by its parts on read receipts and edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from minihs.lab.http_client import RequestFailed, in_path
from minihs.lab.people import Client
from minihs.lab.proposals.msc2228 import REDACTION, SelfDestruction
from minihs.lab.proposals.switch import Switch
from minihs.lab.world import World

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
SERVERS = ("hs1", "hs2", "hs3", "hs4", "hs5")
CUT_OFF, SLOW, OLD = "hs3", "hs4", "hs5"
"""One that is cut off for a while, one whose clock is five minutes slow, one that does not know MSC2228."""
SLOW_MS = 300_000
POLL_MS = 600_000


class Scene(msgspec.Struct):
    """A world with a room, and what its people have been told by `/sync` since `watch`."""

    world: World
    people: Mapping[str, Client]
    room_id: str
    begun_ms: float
    told_ms: dict[tuple[str, str], float] = {}
    """(name, event ID): when the first redaction of it came, counted from the beginning."""

    def until(self, minutes: float) -> None:
        """Let time pass until so long after the beginning."""
        self.world.advance(ms=self.begun_ms + minutes * MINUTE_MS - self.world.now_ms)

    def watch(self, minutes: float) -> None:
        """Everybody's client syncs until so long after the beginning."""
        for person in self.people.values():
            Deferred.fromCoroutine(self._watch(person, self.begun_ms + minutes * MINUTE_MS))

    def cut_off(self) -> None:
        """One server is apart from all others."""
        self.world.partition([CUT_OFF], [name for name in SERVERS if name != CUT_OFF])

    def gone_after_min(self, name: str, event_id: str) -> float | None:
        """When somebody's client was told that an event has lost its text, and it has; None: never."""
        path = f"/rooms/{in_path(self.room_id)}/event/{in_path(event_id)}"
        is_there = bool(self.people[name].get(path)["content"])
        told_ms = self.told_ms.get((name, event_id))
        if is_there is not (told_ms is None):
            raise RuntimeError(f"{name} is shown the text although it is gone, or was not told")
        return None if told_ms is None else told_ms / MINUTE_MS

    async def _watch(self, person: Client, until_ms: float) -> None:
        query: dict[str, Any] = {}
        while self.world.now_ms < until_ms:
            try:
                answer = await person.call("GET", "/sync", query=query, patience_ms=2 * POLL_MS)
            except RequestFailed:
                await self.world.sleep(MINUTE_MS)
                continue
            room = answer.json.get("rooms", {}).get("join", {}).get(self.room_id, {})
            for event in room.get("timeline", {}).get("events", ()):
                if event["type"] == REDACTION:
                    key = person.name, event["content"]["redacts"]
                    self.told_ms.setdefault(key, self.world.now_ms - self.begun_ms)
            left_ms = until_ms - self.world.now_ms
            query = {"since": answer.json["next_batch"], "timeout": int(min(POLL_MS, max(0, left_ms)))}


def scene(seed: str, homes: Mapping[str, str], *, by_itself: bool) -> Scene:
    """A room of people at their `homes`, the first of them its creator. `by_itself`: servers know MSC2228."""
    world = World(seed=seed, settings={"federation.retry_max_ms": 30_000})
    world.transcript.mute("request")
    switch = Switch(world, SelfDestruction)
    for name in SERVERS:
        knows = by_itself and name != OLD
        world.add_server(name, policies=switch.policies(name) if knows else None)
    world[SLOW].set_clock(skew_ms=-SLOW_MS)
    people = {name: world.user(name, on=home) for name, home in homes.items()}
    first, *others = people.values()
    room_id = first.create_room()
    for person in others:
        person.join(room_id, first.server.name)
    world.settle()
    return Scene(world, people, room_id, world.now_ms)


def told(minutes: float | None) -> str:
    """A time after the beginning, for tables."""
    return "never" if minutes is None else f"{minutes:.1f} min"
