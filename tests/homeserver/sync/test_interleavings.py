"""/sync over a store that really waits: reads come back late and out of order while events arrive.

The reader of SQLite answers at once and hides races that another store would show.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import UserID
from minihs.homeserver.history.recent_events import RecentEvents
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.platform.clock import Clock, sleep
from minihs.store.database import Database, open_database
from minihs.store.reader import Params, Reader, Row
from tests.support.deferreds import start
from tests.support.sync_service import Client, SyncServer, joined, plain, timeline_ids

ALICE, BOB = "@alice:hs1", "@bob:hs1"


class SlowReader(Reader):
    """Waits for some milliseconds, drawn from a seed, before and after each read, once it is told to."""

    def __init__(self, inner: Reader, seed: int) -> None:
        super().__init__(inner._connection)
        self.random = random.Random(seed)
        self.clock: Clock | None = None

    async def _wait(self) -> None:
        if self.clock is not None:
            await sleep(self.clock, self.random.choice([0, 1, 2, 5]))

    async def one(self, sql: str, params: Params = ()) -> Row:
        await self._wait()
        row = await super().one(sql, params)
        await self._wait()
        return row

    async def maybe(self, sql: str, params: Params = ()) -> Row | None:
        await self._wait()
        row = await super().maybe(sql, params)
        await self._wait()
        return row

    async def all(self, sql: str, params: Params = ()) -> list[Row]:
        await self._wait()
        rows = await super().all(sql, params)
        await self._wait()
        return rows


class Device:
    """A client that always has a sync under way, and keeps all it is told."""

    def __init__(self, server: SyncServer, user: str) -> None:
        self.client = Client(server, user, filter={"room": {"timeline": {"limit": 1_000}}})
        self.seen: list[str] = []
        self.waiting: Deferred[Any] | None = None
        self.next_sync()

    def next_sync(self) -> None:
        self.waiting = self.client.start_sync(timeout_ms=200)
        self.waiting.addCallback(self.take)

    def take(self, reply: Any) -> None:
        reply = plain(reply)
        self.client.token = reply["next_batch"]
        for section in ("join", "leave"):
            for entry in reply.get("rooms", {}).get(section, {}).values():
                self.seen += timeline_ids(entry)
        self.client.server.clock.callLater(0.001, self.next_sync)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_or_repeated_when_every_read_takes_its_time(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow: list[SlowReader] = []

    def open_slow() -> Database:
        database = open_database()
        slow.append(SlowReader(database.reader, seed))
        return Database(writing=database.writing, reader=slow[0])

    monkeypatch.setattr("tests.support.room_service.open_database", open_slow)
    server = SyncServer()
    room = server.create()
    slow[0].clock = server.clock
    if seed % 2:
        server.syncs.sync._recent._capacity = 2  # and mostly without the window of memory
    devices = [Device(server, ALICE), Device(server, BOB)]
    server.clock.pump([0.01] * 30)  # the first syncs are over
    world = random.Random(seed)
    sent: list[Deferred[Any]] = []
    bob_is_in = False
    for _ in range(60):
        server.clock.advance(world.choice([0, 0.001, 0.003, 0.01]))
        if world.random() < 0.12:
            bob_is_in = not bob_is_in
            settle(server, sent)
            membership = "join" if bob_is_in else "leave"
            sent.append(start(_send(server, room, BOB, "m.room.member", BOB, {"membership": membership})))
        elif world.random() < 0.2:
            content = {"topic": f"{world.random()}"}
            sent.append(start(_send(server, room, ALICE, "m.room.topic", "", content)))
        else:
            sent.append(start(_send(server, room, ALICE, "m.room.message", None, {"body": "x"})))
    settle(server, sent)
    for _ in range(3_000):
        server.clock.advance(0.001)
    slow[0].clock = None
    for device in devices:
        assert len(device.seen) == len(set(device.seen))
        user = device.client.user_id
        if user == BOB and not any(event.membership for event in results(sent)):
            assert device.seen == []
            continue
        expected = [event["event_id"] for event in Client(server, user).messages(room, limit=1_000)["chunk"]]
        assert sorted(device.seen) == sorted(expected)
    assert isinstance(server.syncs.sync._recent, RecentEvents)
    assert joined(Client(server).sync(), room)


def settle(server: SyncServer, sent: list[Deferred[Any]]) -> None:
    for _ in range(5_000):
        if all(sending.called for sending in sent):
            return
        server.clock.advance(0.001)
    raise AssertionError("a send never came to an end")


def results(sent: list[Deferred[Any]]) -> list[Any]:
    return [sending.result for sending in sent]


async def _send(
    server: SyncServer, room: Any, sender: str, type_: str, state_key: str | None, content: Any
) -> Any:
    return await server.rooms.send(
        EventDraft(room_id=room, sender=UserID(sender), type=type_, state_key=state_key, content=content)
    )
