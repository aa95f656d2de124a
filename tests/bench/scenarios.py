"""What is measured on one server, or seen from one: a function for each figure, given running servers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.load import Connection, Result, Timings, hammer
from tests.bench.servers import Measured

MESSAGE = {"msgtype": "m.text", "body": "a message of ordinary length, as people write them"}
CLIENT = "/_matrix/client/v3"
HOUR_MS = 3_600_000


@dataclass
class Sending:
    """Rate and cost of `PUT /send`."""

    rate: float
    cpu_ms: float
    p99_ms: float


def quoted(room_id: str) -> str:
    return urllib.parse.quote(room_id, safe="")


async def sending(server: Measured, rooms: int, connections: int, seconds: float) -> Sending:
    """`PUT /send` from `connections` connections of one user, spread over `rooms` rooms."""
    room_ids = [quoted(server.room()) for _ in range(rooms)]
    links = server.connections("alice", connections)
    txn_ids = itertools.count(time.time_ns())

    def requests(number: int) -> Iterator[bytes]:
        link = links[number]
        room = room_ids[number % rooms]
        while True:
            yield link.encode("PUT", f"{CLIENT}/rooms/{room}/send/m.room.message/{next(txn_ids)}", MESSAGE)

    await hammer(links, requests, min(1.0, seconds))
    before = server.cpu_s()
    result = await hammer(links, requests, seconds)
    spent = server.cpu_s() - before
    close(links)
    return Sending(result.rate, spent / result.count * 1000, result.timings.percentile(0.99))


async def schedule(
    server: Measured, room_id: str, count: int, delay_ms: int, connections: int = 32
) -> list[str]:
    """Schedule `count` futures; returns their delay IDs."""
    links = server.connections("alice", connections)
    path = f"{CLIENT}/rooms/{quoted(room_id)}/delayed_event/m.room.message/"
    found: list[str] = []

    async def one(number: int, link: Connection) -> None:
        for index in range(number, count, connections):
            reply = await link.request("PUT", f"{path}s{index}", {"delay_ms": delay_ms, "content": MESSAGE})
            found.append(reply["delay_id"])

    await asyncio.gather(*(one(number, link) for number, link in enumerate(links)))
    close(links)
    return found


async def restarting(server: Measured, delay_ids: list[str], seconds: float) -> Result:
    """Heartbeats over 32 connections, each to the next of the futures."""
    links = server.connections("alice", 32)
    ids = itertools.cycle(delay_ids)
    encoded = {
        delay_id: links[0].encode("POST", f"/_matrix/client/v1/delayed_events/{delay_id}/restart", {})
        for delay_id in delay_ids
    }

    def requests(_number: int) -> Iterator[bytes]:
        for delay_id in ids:
            yield encoded[delay_id]

    await hammer(links, requests, min(1.0, seconds))
    result = await hammer(links, requests, seconds)
    close(links)
    return result


async def bare_requests(port: int, count: int) -> Result:
    """Requests like a heartbeat to bare Twisted, after as many that warm it up."""
    links = [Connection("127.0.0.1", port, "x" * 43) for _ in range(32)]
    request = links[0].encode("POST", "/_matrix/client/v1/delayed_events/" + "x" * 32 + "/restart", {})
    for _ in range(2):
        requests = itertools.repeat(request, count)
        result = await hammer(links, lambda _, requests=requests: requests, 60)
    close(links)
    return result


@dataclass
class Burst:
    """Many futures due at one instant."""

    seen: int
    seconds: float
    other_p99_ms: float
    other_worst_ms: float


async def burst(server: Measured, count: int, *, query: bool = False) -> Burst:
    """`count` futures due at the same instant in one room, watched by a syncing client; other requests go on.

    With `query`, they are scheduled as shipped clients do it, which Synapse knows too.
    """
    room_id = server.room()
    links = server.connections("alice", 32)
    lead_s = max(5.0, count / 200) if query else max(3.0, count / 1_000)
    due = time.time() + lead_s
    room = quoted(room_id)

    async def one(number: int) -> None:
        for index in range(number, count, len(links)):
            delay_ms = max(1, int((due - time.time()) * 1000))
            content = {"msgtype": "m.text", "body": f"due {index}"}
            if query:
                path = f"{CLIENT}/rooms/{room}/send/m.room.message/b{index}"
                await links[number].request("PUT", f"{path}?org.matrix.msc4140.delay={delay_ms}", content)
            else:
                path = f"{CLIENT}/rooms/{room}/delayed_event/m.room.message/b{index}"
                await links[number].request("PUT", path, {"delay_ms": delay_ms, "content": content})

    await asyncio.gather(*(one(number) for number in range(len(links))))
    if time.time() >= due - 0.2:
        raise RuntimeError("scheduling took too long")
    watcher, other = server.connections("alice", 2)
    filter_json = urllib.parse.quote(json.dumps({"room": {"timeline": {"limit": 1000}}}))
    since = (await watcher.request("GET", f"{CLIENT}/sync?filter={filter_json}"))["next_batch"]
    await asyncio.sleep(max(0, due - time.time() - 0.1))
    timings = Timings()
    watching = True

    async def elsewhere() -> None:
        while watching:
            started = time.perf_counter()
            await other.request("GET", f"{CLIENT}/account/whoami")
            timings.values_ms.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.002)

    others = asyncio.create_task(elsewhere())
    seen: set[str] = set()
    ends = time.time() + 90
    while len(seen) < count and time.time() < ends:
        reply = await watcher.request("GET", f"{CLIENT}/sync?filter={filter_json}&since={since}&timeout=1000")
        since = reply["next_batch"]
        for joined in reply.get("rooms", {}).get("join", {}).values():
            for event in joined["timeline"]["events"]:
                body = str(event.get("content", {}).get("body", ""))
                if body.startswith("due "):
                    seen.add(body)
    seconds = time.time() - due
    watching = False
    await others
    close([*links, watcher, other])
    return Burst(len(seen), seconds, timings.percentile(0.99), max(timings.values_ms))


async def lateness(server: Measured, count: int) -> Timings:
    """How long after their due time futures are sent: `count` of them, one every 20 ms."""
    room_id = server.room()
    link = server.connections("alice", 1)[0]
    path = f"{CLIENT}/rooms/{quoted(room_id)}/delayed_event/m.room.message/"
    ids = []
    started = time.time()
    for index in range(count):
        delay_ms = int(3_000 + index * 20 - (time.time() - started) * 1000)
        reply = await link.request("PUT", f"{path}l{index}", {"delay_ms": delay_ms, "content": MESSAGE})
        ids.append(reply["delay_id"])
    await asyncio.sleep(3.5 + count * 0.02)
    timings = Timings()
    for delay_id in ids:
        future = await link.request("GET", f"/_matrix/client/v1/delayed_events/{delay_id}")
        due_ms = future["delayed_since_ts"] + future["delay_ms"]
        timings.values_ms.append(future["finalised"]["finalised_ts"] - due_ms)
    link.close()
    return timings


async def idle_cpu(server: Measured, seconds: float) -> float:
    """Processor time used while nobody asks anything, in percent of one core."""
    before = server.cpu_s()
    await asyncio.sleep(seconds)
    return (server.cpu_s() - before) / seconds * 100


async def until_seen(sender: Measured, reader: Measured, room_id: str, rounds: int) -> Timings:
    """From `PUT` until the other user's `/sync` brings it."""
    out = sender.connections("alice", 1)[0]
    into = reader.connections("bob", 1)[0]
    since = (await into.request("GET", f"{CLIENT}/sync"))["next_batch"]
    timings = Timings()
    for number in range(rounds):
        body = f"round {number} {time.time_ns()}"
        poll = asyncio.create_task(into.request("GET", f"{CLIENT}/sync?since={since}&timeout=10000"))
        await asyncio.sleep(0.02)
        started = time.perf_counter()
        put = asyncio.create_task(
            out.request(
                "PUT",
                f"{CLIENT}/rooms/{quoted(room_id)}/send/m.room.message/{time.time_ns()}",
                {"msgtype": "m.text", "body": body},
            )
        )
        while True:
            reply = await poll
            since = reply["next_batch"]
            if body in json.dumps(reply):
                break
            poll = asyncio.create_task(into.request("GET", f"{CLIENT}/sync?since={since}&timeout=10000"))
        timings.values_ms.append((time.perf_counter() - started) * 1000)
        await put
    close([out, into])
    return timings


def join(server: Measured, user: str, room_id: str, via: str) -> None:
    server.user(user).request(
        "POST", f"{CLIENT}/join/{quoted(room_id)}?server_name={quoted(via)}&via={quoted(via)}", {}
    )


def close(links: list[Connection]) -> None:
    with contextlib.suppress(OSError):
        for link in links:
            link.close()
