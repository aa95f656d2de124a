"""Several complete homeservers in one process: virtual clock, network in memory, seeded entropy.

The same objects as `serve` wires; nothing inside a server is replaced.
"""

from __future__ import annotations

import itertools
import json as jsonlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from minihs.config import load_config
from minihs.federation.signing_keys import SigningKeys, new_signing_keys
from minihs.homeserver.accounts.passwords import PasswordCost
from minihs.lab.memory_network import MemoryHost, MemoryNetwork
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy
from minihs.platform.workers import InlineWorkers
from minihs.server import Platform, Server, wire
from minihs.store.database import Database, open_database
from tests.support.deferreds import finish, run, start
from tests.support.http import Connection, HttpDriver, Response

CHEAP = PasswordCost(passes=1, memory_kib=8)
PATIENCE_MS = 20_000


class World:
    """A clock, a network, and the servers on it."""

    def __init__(self, *names: str, seed: int = 1, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.network = MemoryNetwork(self.clock)
        self.seed = seed
        self.servers: dict[str, HomeServer] = {}
        for name in names:
            self.add(name, **settings)

    def add(
        self, name: str, *, database: Database | None = None, keys: SigningKeys | None = None, **settings: Any
    ) -> HomeServer:
        """A server that listens for others at NAME:8448; it may come with what it had in another world."""
        address = f"10.0.0.{len(self.servers) + 1}"
        server = HomeServer(self, name, self.network.host(address, name), settings, database, keys)
        self.servers[name] = server
        server.start()
        return server

    def __getitem__(self, name: str) -> HomeServer:
        return self.servers[name]

    def advance(self, ms: float, step_ms: float = 1) -> None:
        """Let time pass, in small steps, so that what is set off on the way happens on the way."""
        while ms > 0:
            self.clock.advance(min(step_ms, ms) / 1000)
            ms -= step_ms

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()


class ProcessClock:
    """The world's clock as one process has it: when the process is gone, nothing that it set goes off."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._ended = False
        self.wall_ms = clock.wall_ms
        self.monotonic_ms = clock.monotonic_ms
        self.seconds = clock.seconds

    def end(self) -> None:
        """The process is gone."""
        self._ended = True

    def call_later(self, delay_ms: float, call: Callable[..., object], *args: Any) -> Any:
        return self._clock.call_later(delay_ms, self._ring, call, args, {})

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kw: Any) -> Any:  # noqa: N802
        return self._clock.callLater(delay, self._ring, call, args, kw)

    def _ring(self, call: Callable[..., object], args: Any, kw: Any) -> None:
        if not self._ended:
            call(*args, **kw)


class HomeServer:
    """One server of a world; `crash` and `start` keep its database."""

    def __init__(
        self,
        world: World,
        name: str,
        host: MemoryHost,
        settings: dict[str, Any],
        database: Database | None = None,
        keys: SigningKeys | None = None,
    ) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.settings = settings
        self.database = open_database() if database is None else database
        self.entropy = SeededEntropy(f"{world.seed} {name}")
        self.keys = new_signing_keys(name, self.entropy) if keys is None else keys
        self.fatal: list[str] = []
        self.server: Server

    def start(self) -> None:
        """Wire and start the server over its database."""
        config = load_config(
            None,
            {
                "server.name": self.name,
                "server.client_listen": f"{self.host.address}:8008",
                "server.federation_listen": f"{self.host.address}:8448",
                "registration.enabled": True,
                "registration.guests": True,
                "federation.allow_private_addresses": True,
                "federation.retry_initial_ms": 1_000,
                "rate_limits.enabled": False,
                **{key.replace("__", "."): value for key, value in self.settings.items()},
            },
        )
        self.process_clock = ProcessClock(self.world.clock)
        platform = Platform(
            clock=self.process_clock,
            entropy=self.entropy,
            commit_worker=InlineWorkers(),
            workers=InlineWorkers(),
            network=self.host,
        )
        clock = self.world.clock
        parts = run(
            clock,
            wire(config, platform, self.database, self.keys, on_fatal=self.fatal.append, password_cost=CHEAP),
        )
        self.server = Server(parts, self.host)
        run(clock, self.server.start())
        self.driver = HttpDriver(self.server.client_site, clock)

    def stop(self) -> None:
        stopping = start(self.server.stop())
        for _ in range(PATIENCE_MS):
            if stopping.called:
                break
            self.world.clock.advance(0.001)
        finish(self.world.clock, stopping)

    def crash(self) -> None:
        """The process is gone between two instructions: nothing is finished, the database is what it is."""
        self.process_clock.end()
        self.world.network.crash(self.host.address)

    def user(self, localpart: str) -> Client:
        """A new account, logged in."""
        body = {"username": localpart, "password": "a long password", "auth": {"type": "m.login.dummy"}}
        reply = self.driver.request("POST", "/_matrix/client/v3/register", json=body)
        assert reply.status == 200, reply.body
        return Client(self, reply.json["user_id"], reply.json["access_token"])


@dataclass
class Client:
    """A user with an access token; `get`, `put` and `post` take paths below `/_matrix/client/v3`."""

    server: HomeServer
    user_id: str
    token: str
    since: str | None = None
    _txn_ids: Any = field(default_factory=lambda: itertools.count(1))

    def request(self, method: str, path: str, *, query: Any = None, **details: Any) -> Response:
        if not path.startswith("/_matrix"):
            path = "/_matrix/client/v3" + path
        if query:
            path += "?" + urlencode(query)
        connection = self.start(method, path, **details)
        response = self.server.driver.finish(connection, PATIENCE_MS)
        connection.drop()
        return response

    def start(self, method: str, path: str, **details: Any) -> Connection:
        """Send a request and do not wait for the reply."""
        return self.server.driver.start(method, path, token=self.token, **details)

    def ok(self, method: str, path: str, **details: Any) -> Any:
        """The reply's JSON, which must be a success."""
        response = self.request(method, path, **details)
        assert response.status == 200, (method, path, response.status, response.body)
        return jsonlib.loads(response.body)

    def get(self, path: str, **details: Any) -> Any:
        return self.ok("GET", path, **details)

    def put(self, path: str, json: Any, **details: Any) -> Any:
        return self.ok("PUT", path, json=json, **details)

    def post(self, path: str, json: Any = None, **details: Any) -> Any:
        return self.ok("POST", path, json={} if json is None else json, **details)

    def create_room(self, **body: Any) -> str:
        return str(self.post("/createRoom", {"preset": "public_chat", **body})["room_id"])

    def join(self, room_id: str, *via: str) -> None:
        self.post(f"/join/{quote(room_id)}", query=[("via", server) for server in via])

    def send(self, room_id: str, body: str) -> str:
        """A text message; returns its event ID."""
        path = f"/rooms/{quote(room_id)}/send/m.room.message/t{next(self._txn_ids)}"
        return str(self.put(path, {"msgtype": "m.text", "body": body})["event_id"])

    def set_state(self, room_id: str, event_type: str, content: Any, state_key: str = "") -> str:
        path = f"/rooms/{quote(room_id)}/state/{event_type}/{quote(state_key)}"
        return str(self.put(path, content)["event_id"])

    def state(self, room_id: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The room's current state, by type and state key."""
        events = self.get(f"/rooms/{quote(room_id)}/state")
        return {(event["type"], event["state_key"]): event for event in events}

    def messages(self, room_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest events of the room, newest first."""
        reply = self.get(f"/rooms/{quote(room_id)}/messages", query={"dir": "b", "limit": limit})
        return list(reply["chunk"])

    def bodies(self, room_id: str) -> list[str]:
        """The texts of the room's messages, oldest first."""
        return [
            event["content"]["body"]
            for event in reversed(self.messages(room_id))
            if event["type"] == "m.room.message" and "body" in event["content"]
        ]

    def sync(self, **query: Any) -> dict[str, Any]:
        if self.since is not None:
            query.setdefault("since", self.since)
        reply: dict[str, Any] = self.get("/sync", query=query)
        self.since = reply["next_batch"]
        return reply
