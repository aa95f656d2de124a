"""Requests at random to every path of every dialect, good ones and bad ones, with crashes between them.

Whatever comes in: no answer is an error of the server's own, each refusal says its errcode, and in the end
nothing is left over.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from minihs.http.dialects.table import NAMES
from minihs.store.futures_overview import START
from tests.futures_life.owners import C, merged
from tests.support.world import World

REQUESTS = 500
SENDS = ("send/{event_type}/{txn_id}", "state/{event_type}/{state_key}")
TYPES = ("m.x", "m.room.message", "future", "m.room.member", "m.room.power_levels", "m.room.redaction")
QUERY_VALUES = (
    "0",
    "1",
    "1000",
    "-1",
    "",
    "none",
    "call",
    "\u00e9",
    "\0",
    "86400001",
    "NaN",
    "scheduled",
    "b",
    "s1_x~f5_y",
)
QUERY_NAMES = (
    *("delay", "org.matrix.msc4140.delay", "future_timeout", "org.matrix.msc4140.future_timeout"),
    *("future_group_id", "parent_future_id", "org.matrix.msc4354.sticky_duration_ms", "delay_id", "ts"),
    *("from", "dir", "status", "type", "room_id", "from_ts", "to_ts"),
)
KEYS = (
    *("delay_ms", "content", "state_key", "timeout", "send_on_timeout", "send_now", "send_on_action"),
    *("m.send_on_action:a", "m.timeout", "io.element.send_now", "m.will_expire", "m.relates_to"),
    *("future_token", "expire_refresh_token", "future_id", "action", "type", "redacts", "membership"),
)
LEAVES = (
    None,
    0,
    1,
    -1,
    5,
    1000,
    10**30,
    2**53,
    0.5,
    1.0,
    True,
    False,
    "",
    "x",
    "running",
    "$m.send_now.event_id",
)


class Monkey:
    """Asks, and remembers what it was given, to use it again."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        left_out = "tokens-on-send" if seed % 2 else "future-id"
        self.world = World("hs1", futures__dialects=[name for name in NAMES if name != left_out])
        self.server = self.world["hs1"]
        self.users = [self.server.user(name) for name in ("alice", "bob")]
        self.room_id = self.users[0].create_room(power_level_content_override={"state_default": 0})
        self.users[1].join(self.room_id)
        room = f"{C}/v3/rooms/{{room_id}}"
        self.routes = [(route.method, route.path) for route in self.server.parts.dialects.routes()]
        self.routes += [("PUT", f"{room}/{send}") for send in SENDS] * 6
        self.given = ["x"]

    def step(self) -> None:
        """One request, and perhaps some time or a crash."""
        random = self.random
        method, path = random.choice(self.routes)
        for name in ("room_id", "event_type", "txn_id", "state_key", "delay_id", "token", "action", "name"):
            path = path.replace(f"{{{name}}}", quote(self.argument(name), safe=""))
        body = self.good_body() if random.random() < 0.7 else self.anything(0, object)
        token = random.choice([self.users[0].token, self.users[0].token, self.users[1].token, None])
        response = self.server.driver.request(
            method,
            f"{path}?{self.query()}",
            body=b"" if method == "GET" else json.dumps(body).encode(),
            token=token,
            host=f"10.0.{random.randrange(250)}.{random.randrange(250)}",
        )
        assert response.status < 500, (method, path, body, response.body)
        if response.status < 300:
            self.collect(response.json)
        else:
            assert response.errcode, (method, path)
            assert response.json["error"], (method, path)
        if random.random() < 0.05:
            self.world.advance(random.choice([1, 500, 2_000]))
        if random.random() < 0.01:
            self.server.crash()
            self.server.start()

    def argument(self, name: str) -> str:
        choices: dict[str, tuple[str, ...]] = {
            "room_id": (*[self.room_id] * 8, "!nowhere:hs1", "\u00e9"),
            "event_type": TYPES,
            "txn_id": tuple(f"t{number}" for number in range(50)),
            "state_key": ("k", "@bob:hs1"),
            "action": ("send", "cancel", "restart", "x"),
            "name": ("a", "b", "\u00e9"),
        }
        return self.random.choice(choices.get(name, tuple(self.given[-40:])))

    def query(self) -> str:
        random = self.random
        if random.random() < 0.3:
            names = random.sample(["delay", "future_timeout", "future_group_id"], random.choice([1, 1, 2]))
            return "&".join(f"{name}={random.choice(['1000', '3000'])}" for name in names)
        values = (*QUERY_VALUES, *self.given[-5:])
        asked = [(random.choice(QUERY_NAMES), random.choice(values)) for _ in range(random.randrange(3))]
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in asked)

    def good_body(self) -> Any:
        random = self.random
        event: dict[str, Any] = {"type": random.choice(["m.x", "m.room.message"]), "content": {"body": "x"}}
        if random.random() < 0.4:
            event["state_key"] = "k"
        batch = {"timeout": random.choice([1, 60]), "send_on_timeout": event}
        batch |= {
            key: value
            for key, value in (("send_now", event), ("send_on_action", {"a": event}))
            if random.random() < 0.5
        }
        secret = random.choice(self.given[-30:])
        return random.choice(
            [
                {"delay_ms": random.choice([1, 1_000, 60_000]), "content": {"body": "y"}},
                batch,
                {"m.will_expire": random.choice([1, 5])},
                {"future_token": secret},
                {"expire_refresh_token": secret},
                {"future_id": secret, "action": random.choice(["send", "cancel", "refresh"])},
                {"action": random.choice(["send", "cancel", "restart"])},
            ]
        )

    def anything(self, depth: int, kind: Any = None) -> Any:
        random = self.random
        if kind is object or (depth < 3 and random.random() < 0.3):
            return {random.choice(KEYS): self.anything(depth + 1) for _ in range(random.randrange(5))}
        if depth < 3 and random.random() < 0.1:
            return [self.anything(depth + 1) for _ in range(random.randrange(3))]
        return random.choice((*LEAVES, *self.given[-5:]))

    def collect(self, value: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, str) and isinstance(key, str) and key.endswith(("_token", "_id", "_batch")):
                self.given.append(inner)
            elif isinstance(inner, dict | list):
                self.collect(inner)

    def scheduled(self) -> int:
        page = self.server.parts.futures_administration.page(START, 1_000)
        return len(self.world.run(page).rows)


@pytest.mark.parametrize("seed", range(4))
def test_no_request_makes_the_server_fail_and_nothing_is_left_over(seed: int) -> None:
    monkey = Monkey(seed)
    for _ in range(REQUESTS):
        monkey.step()
    assert len(monkey.given) > 50, "much of it was taken"
    merged(monkey.users[0], monkey.room_id, 60_000)
    assert monkey.scheduled() > 0
    monkey.world.advance(90_000_000)
    assert monkey.scheduled() == 0
    monkey.world.stop()
