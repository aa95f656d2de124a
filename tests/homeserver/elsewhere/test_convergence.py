"""Three servers that write at once, with deliveries late, repeated and side by side, end in one state."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from minihs.events.event import Event
from minihs.events.ids import RoomID
from tests.support.deferreds import finish, start
from tests.support.federated import FederatedServer, Wire

NAMES = ("hs1", "hs2", "hs3")
USERS = {"hs1": "@alice:hs1", "hs2": "@bob:hs2", "hs3": "@carol:hs3"}


class Gossip:
    """Servers in one room; what each says waits in a queue for each other one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.wire = Wire()
        self.servers = {name: FederatedServer(name, self.wire) for name in NAMES}
        hs1 = self.servers["hs1"]
        levels = {"users": {USERS["hs1"]: 100, USERS["hs2"]: 50, USERS["hs3"]: 50}}
        levels_event = {"type": "m.room.power_levels", "state_key": "", "content": levels}
        self.room_id: RoomID = hs1.create(USERS["hs1"], "11", extra=[levels_event])
        self.queues: dict[tuple[str, str], list[Event]] = {
            (one, other): [] for one in NAMES for other in NAMES if one != other
        }
        for name in ("hs2", "hs3"):
            self.servers[name].join(USERS[name], self.room_id, "hs1")
        join = hs1.run(hs1.rooms.state_event(self.room_id, "m.room.member", USERS["hs3"]))
        self.servers["hs2"].receive("hs1", join)
        self._numbers: Iterator[int] = iter(range(10**9))

    def say(self, name: str) -> None:
        """Something new by a server's user: a message or a change of state."""
        server, number = self.servers[name], next(self._numbers)
        if self.random.random() < 0.4:
            event_type = self.random.choice(["m.room.topic", "m.room.name"])
            event = server.send(
                self.room_id, USERS[name], event_type, state_key="", content={"text": f"{name} {number}"}
            )
        else:
            event = server.send(self.room_id, USERS[name], content={"body": f"{name} {number}"})
        for other in NAMES:
            if other != name:
                self.queues[name, other].append(event)

    def deliver(self, one: str, other: str) -> Any:
        """Start a transaction with some of what is queued, perhaps with what was sent before."""
        queue = self.queues[one, other]
        count = self.random.randint(1, 5)
        events, self.queues[one, other] = queue[:count], queue[count:]
        if self.random.random() < 0.2:
            events = [*events, *events]
        body = {"origin": one, "origin_server_ts": 1, "pdus": [event.pdu for event in events]}
        path = f"/_matrix/federation/v1/send/{next(self._numbers)}"
        return start(self.servers[other].answer("PUT", path, {"": one}, body))

    def settle(self) -> None:
        while any(self.queues.values()):
            pairs = [pair for pair, queue in self.queues.items() if queue]
            for reply in [self.deliver(*pair) for pair in pairs]:
                results = finish(self.wire.clock, reply)["pdus"]
                assert all(result == {} for result in results.values()), results


@pytest.mark.parametrize("seed", range(6))
def test_servers_that_write_at_once_agree_in_the_end(seed: int) -> None:
    gossip = Gossip(seed)
    for _ in range(40):
        for _ in range(gossip.random.randint(1, 4)):
            gossip.say(gossip.random.choice(NAMES))
        ready = [pair for pair, queue in gossip.queues.items() if queue and gossip.random.random() < 0.5]
        replies = [gossip.deliver(*pair) for pair in ready]
        for reply in replies:
            results = finish(gossip.wire.clock, reply)["pdus"]
            assert all(result == {} for result in results.values()), results
    gossip.settle()
    servers = list(gossip.servers.values())
    states = [server.state(gossip.room_id) for server in servers]
    assert states[0] == states[1] == states[2]
    tips = [set(server.run(server.rooms.extremities(gossip.room_id))) for server in servers]
    assert tips[0] == tips[1] == tips[2]
    accepted = [
        {row[0] for row in server.run(server.database.reader.all(ACCEPTED, (gossip.room_id,)))}
        for server in servers
    ]
    assert accepted[0] >= accepted[1] | accepted[2]
    for server in servers:
        server.open()
    assert [server.state(gossip.room_id) for server in servers] == states


ACCEPTED = (
    "SELECT event_id FROM events WHERE room_id = ? AND standing = 0 AND type = 'm.room.message'"
    " ORDER BY event_id"
)
