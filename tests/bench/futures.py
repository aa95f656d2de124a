"""What is measured about very many futures. The server is filled while it is stopped; see `populate`."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.bench.load import Result, Timings, hammer
from tests.bench.populate import populate
from tests.bench.scenarios import CLIENT, HOUR_MS, MESSAGE, quoted
from tests.bench.servers import Measured

ACTIONS = "/_matrix/client/v1/delayed_events"
LEAD_MS = 15_000
WARMING = 300
"""Commands before those that are measured, so that connections and code paths are there."""


@dataclass
class Work:
    """Commands of one kind that were answered, each durable before its answer, and the seconds they took."""

    count: int = 0
    seconds: float = 0.0

    def add(self, result: Result) -> None:
        """Count a slice of the work."""
        self.count += result.count
        self.seconds += result.seconds

    @property
    def rate(self) -> float:
        """Commands each second."""
        return self.count / self.seconds


@dataclass
class Commands:
    """What was done of each command."""

    schedule: Work = field(default_factory=Work)
    restart: Work = field(default_factory=Work)
    cancel: Work = field(default_factory=Work)


def fill(server: Measured, rooms: int, count: int) -> list[str]:
    """Give alice so many futures, due in a day; the server is started again."""
    room_ids = [server.room() for _ in range(rooms)]
    server.server.stop()
    alice = f"@alice:{server.server.server_name}"
    path = server.server.data_dir / "minihs.db"
    ids = populate(path, room_ids, [alice], count, lambda index: 20 * HOUR_MS + index)
    server.server.start()
    return ids


async def touch(server: Measured, ids: list[str]) -> None:
    """Restart each once: their groups are in memory then, as after scheduling over HTTP."""
    links = server.connections("alice", 32)

    def restarts(number: int) -> Iterator[bytes]:
        for delay_id in ids[number :: len(links)]:
            yield links[number].encode("POST", f"{ACTIONS}/{delay_id}/restart", {})

    await hammer(links, restarts, 120)
    for link in links:
        link.close()


async def command(
    server: Measured, room_id: str, restarts: Sequence[str], cancels: Sequence[str], done: Commands
) -> None:
    """Over 32 connections restart these, cancel those, and schedule as many as are cancelled."""
    links = server.connections("alice", 32)
    txn_ids = itertools.count(time.time_ns())
    path = f"{CLIENT}/rooms/{quoted(room_id)}/delayed_event/m.room.message"
    body = {"delay_ms": 20 * HOUR_MS, "content": MESSAGE}

    def schedules(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield links[0].encode("PUT", f"{path}/{next(txn_ids)}", body)

    def actions(action: str, ids: Sequence[str]) -> Iterator[bytes]:
        for delay_id in ids:
            yield links[0].encode("POST", f"{ACTIONS}/{delay_id}/{action}", {})

    async def send(requests: Iterator[bytes]) -> Result:
        return await hammer(links, lambda _: requests, 60)

    await send(schedules(WARMING))
    done.schedule.add(await send(schedules(len(cancels))))
    done.restart.add(await send(actions("restart", restarts)))
    done.cancel.add(await send(actions("cancel", cancels)))
    for link in links:
        link.close()


@dataclass
class ManyRooms:
    """Futures due at one instant in many rooms."""

    seen: int
    seconds: float
    other_p99_ms: float
    out_of_order: int


async def due_in_many_rooms(server: Measured, count: int, rooms: int) -> ManyRooms:
    """`count` futures due within ten milliseconds over `rooms` rooms, watched by `/sync`."""
    room_ids = [server.room() for _ in range(rooms)]
    server.server.stop()
    due_s = time.time() + LEAD_MS / 1000 + count / 10_000
    alice = f"@alice:{server.server.server_name}"

    def spread(index: int) -> int:
        return (index // rooms) * 7 % 10

    first_ms = int((due_s - time.time()) * 1000)
    path = server.server.data_dir / "minihs.db"
    began = time.time()
    populate(path, room_ids, [alice], count, lambda index: first_ms + spread(index))
    due_s = began + first_ms / 1000
    server.server.start()
    watcher, other = server.connections("alice", 2)
    filter_json = urllib.parse.quote(json.dumps({"room": {"timeline": {"limit": 1000}}}))
    since = (await watcher.request("GET", f"{CLIENT}/sync?filter={filter_json}"))["next_batch"]
    if time.time() > due_s:
        raise RuntimeError("filling the server took too long")
    await asyncio.sleep(max(0.0, due_s - time.time() - 0.1))
    timings = Timings()
    watching = True

    async def elsewhere() -> None:
        while watching:
            started = time.perf_counter()
            await other.request("GET", f"{CLIENT}/account/whoami")
            timings.values_ms.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.002)

    others = asyncio.create_task(elsewhere())
    seen: dict[str, list[int]] = defaultdict(list)
    ends = time.time() + 60
    while sum(map(len, seen.values())) < count and time.time() < ends:
        reply = await watcher.request("GET", f"{CLIENT}/sync?filter={filter_json}&since={since}&timeout=1000")
        since = reply["next_batch"]
        for room_id, joined in reply.get("rooms", {}).get("join", {}).items():
            for event in joined["timeline"]["events"]:
                body = str(event.get("content", {}).get("body", ""))
                if body.startswith("due "):
                    seen[room_id].append(int(body[4:]))
    seconds = time.time() - due_s
    watching = False
    await others
    watcher.close()
    other.close()
    wrong = sum(found != sorted(found, key=lambda index: (spread(index), index)) for found in seen.values())
    return ManyRooms(sum(map(len, seen.values())), seconds, timings.percentile(0.99), wrong)
