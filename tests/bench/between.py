"""What is measured between servers: a function for each figure, given running servers."""

from __future__ import annotations

import asyncio
import time
import urllib.parse
from dataclasses import dataclass

from tests.bench.load import Connection
from tests.bench.scenarios import CLIENT, close, join, quoted
from tests.bench.servers import Measured

NARROW = urllib.parse.quote('{"room":{"timeline":{"limit":1000}}}')


async def bulk(sender: Measured, reader: Measured, room_id: str, count: int) -> float:
    """Events per second from the first `PUT` on one server until the last is seen on the other."""
    links = sender.connections("alice", 16)
    into = reader.connections("bob", 1)[0]
    since = (await into.request("GET", f"{CLIENT}/sync?filter={NARROW}"))["next_batch"]
    mark = f"bulk{time.time_ns()}"
    seen: set[str] = set()

    async def send(number: int) -> None:
        for index in range(number, count, len(links)):
            content = {"msgtype": "m.text", "body": f"{mark} {index}"}
            path = f"{CLIENT}/rooms/{quoted(room_id)}/send/m.room.message/{mark}{index}"
            await links[number].request("PUT", path, content)

    started = time.perf_counter()
    sends = asyncio.gather(*(send(number) for number in range(len(links))))
    while len(seen) < count and time.perf_counter() - started < 120:
        reply = await into.request("GET", f"{CLIENT}/sync?filter={NARROW}&since={since}&timeout=5000")
        since = reply["next_batch"]
        for joined in reply.get("rooms", {}).get("join", {}).values():
            for event in joined["timeline"]["events"]:
                body = str(event.get("content", {}).get("body", ""))
                if body.startswith(mark):
                    seen.add(body)
    seconds = time.perf_counter() - started
    await sends
    close([*links, into])
    if len(seen) < count:
        raise RuntimeError(f"{count - len(seen)} of {count} events were not seen")
    return count / seconds


async def fill_state(server: Measured, room_id: str, count: int) -> None:
    """Set `count` state events of a type of their own."""
    links = server.connections("alice", 32)

    async def one(number: int) -> None:
        for index in range(number, count, len(links)):
            path = f"{CLIENT}/rooms/{quoted(room_id)}/state/org.example.item/{index}"
            await links[number].request("PUT", path, {"number": index})

    await asyncio.gather(*(one(number) for number in range(len(links))))
    close(links)


@dataclass
class Join:
    """One remote join: both servers' processor time, and the longest that others waited on each."""

    seconds: float
    cpu_s: float
    resident_worst_ms: float
    joiner_worst_ms: float

    @property
    def worst_ms(self) -> float:
        return max(self.resident_worst_ms, self.joiner_worst_ms)


async def room_with_state(server: Measured, count: int) -> str:
    """A public room with so many state events more."""
    room_id = server.room()
    await fill_state(server, room_id, count)
    return room_id


async def joining(resident: Measured, joiner: Measured, room_id: str) -> Join:
    """One join through `resident`, while somebody asks both servers small questions."""
    bob = joiner.user("bob")
    probes = [asyncio.create_task(_worst_wait(server)) for server in (resident, joiner)]
    await asyncio.sleep(0.5)
    before = resident.cpu_s() + joiner.cpu_s()
    started = time.perf_counter()
    via = resident.server.server_name
    path = f"{CLIENT}/join/{quoted(room_id)}?server_name={quoted(via)}&via={quoted(via)}"
    link = Connection("127.0.0.1", joiner.server.client_port, bob.token)
    await link.request("POST", path, {})
    seconds = time.perf_counter() - started
    cpu_s = resident.cpu_s() + joiner.cpu_s() - before
    link.close()
    for probe in probes:
        probe.cancel()
    resident_worst, joiner_worst = await asyncio.gather(*probes)
    return Join(seconds, cpu_s, resident_worst, joiner_worst)


@dataclass
class Receiving:
    """PDUs taken in: how many each second, and the processor time of each."""

    rate: float
    cpu_ms: float


async def receiving(sender: Measured, receiver: Measured, count: int) -> Receiving:
    """`count` messages that piled up while the receiver's process was paused, until the last is shown."""
    room_id = sender.room()
    join(receiver, "bob", room_id, sender.server.server_name)
    into = receiver.connections("bob", 1)[0]
    newest = f"{CLIENT}/rooms/{quoted(room_id)}/messages?dir=b&limit=1"

    async def shown(body: str) -> None:
        while (await into.request("GET", newest))["chunk"][0]["content"].get("body") != body:
            await asyncio.sleep(0.05)

    async def say(link: Connection, body: str) -> None:
        path = f"{CLIENT}/rooms/{quoted(room_id)}/send/m.room.message/{body}"
        await link.request("PUT", path, {"msgtype": "m.text", "body": body})

    links = sender.connections("alice", 16)
    await say(links[0], "hello")
    await shown("hello")
    receiver.pause()

    async def pile_up(number: int) -> None:
        for index in range(number, count - 1, len(links)):
            await say(links[number], f"waiting{index}")

    await asyncio.gather(*(pile_up(number) for number in range(len(links))))
    await say(links[0], "last")
    before, started = receiver.cpu_s(), time.perf_counter()
    receiver.resume()
    await shown("last")
    seconds, spent = time.perf_counter() - started, receiver.cpu_s() - before
    close([*links, into])
    return Receiving(count / seconds, spent / count * 1000)


async def _worst_wait(server: Measured) -> float:
    """Ask small questions until cancelled; the longest wait for an answer in milliseconds."""
    link = server.connections("alice", 1)[0]
    worst = 0.0
    try:
        while True:
            started = time.perf_counter()
            await link.request("GET", f"{CLIENT}/account/whoami")
            worst = max(worst, (time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.002)
    except asyncio.CancelledError:
        link.close()
        return worst


async def catching_up(sender: Measured, away: Measured, room_id: str, count: int) -> float:
    """Seconds from the return of a server until it shows the last of `count` events that it missed."""
    since_link = away.connections("bob", 1)[0]
    since = (await since_link.request("GET", f"{CLIENT}/sync?filter={NARROW}"))["next_batch"]
    since_link.close()
    away.server.stop()
    links = sender.connections("alice", 32)
    mark = f"missed{time.time_ns()}"

    async def send(number: int) -> None:
        for index in range(number, count, len(links)):
            content = {"msgtype": "m.text", "body": f"{mark} {index}"}
            path = f"{CLIENT}/rooms/{quoted(room_id)}/send/m.room.message/{mark}{index}"
            await links[number].request("PUT", path, content)

    await asyncio.gather(*(send(number) for number in range(len(links))))
    away.server.start()
    started = time.perf_counter()
    into = away.connections("bob", 1)[0]
    path = f"{CLIENT}/rooms/{quoted(room_id)}/messages?dir=b&limit=1000"
    missing = count
    while missing and time.perf_counter() - started < 60:
        await asyncio.sleep(0.1)
        seen: set[str] = set()
        token = ""
        while True:
            reply = await into.request("GET", path + token)
            bodies = [str(event.get("content", {}).get("body", "")) for event in reply["chunk"]]
            seen.update(body for body in bodies if body.startswith(mark))
            if "end" not in reply or not any(body.startswith(mark) for body in bodies):
                break
            token = f"&from={reply['end']}"
        missing = count - len(seen)
    seconds = time.perf_counter() - started
    close([*links, into])
    if missing:
        raise RuntimeError(f"{missing} of {count} events were not delivered (token {since})")
    return seconds
