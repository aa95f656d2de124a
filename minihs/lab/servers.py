"""One server of a world: everything that `serve` wires, on a virtual clock and a network in memory.

Its database outlives its process: `crash` ends the process between two instructions, `start` begins a new
one on what had been committed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from minihs.config import load_config
from minihs.events.ids import parse_server_name, split_server_name
from minihs.federation.signing_keys import SigningKeys, new_signing_keys
from minihs.homeserver.accounts.passwords import PasswordCost
from minihs.lab.clocks import ServerClock
from minihs.lab.memory_network import MemoryHost
from minihs.lab.views import RoomView, read_view
from minihs.lab.yielding import yielding
from minihs.platform.entropy import SeededEntropy
from minihs.platform.workers import InlineWorkers, P, T
from minihs.server import Parts, Platform, Policies, Server, wire
from minihs.store.database import Database, open_database

if TYPE_CHECKING:
    from minihs.lab.world import World

CLIENT_PORT = 8008
FEDERATION_PORT = 8448

CHEAP = PasswordCost(passes=1, memory_kib=8)
"""Worlds are about something other than passwords."""

SETTINGS: Mapping[str, Any] = {
    "registration.enabled": True,
    "registration.guests": True,
    "federation.allow_private_addresses": True,
    "federation.retry_initial_ms": 1_000,
    "rate_limits.enabled": False,
}
"""What differs from the defaults of a real server."""


def counted(nth: int) -> int:
    """The number of a commit from now. ValueError for one that does not come."""
    if nth < 1:
        raise ValueError(f"There is no commit number {nth} from now: the next is number 1.")
    return nth


class CommitWorkers(InlineWorkers):
    """Commits inline; the process can be made to die around a commit."""

    def __init__(self, die: Callable[[], None]) -> None:
        self._die = die
        self._countdown: tuple[int, bool] | None = None
        self.commits = 0

    def die_at(self, nth: int, *, after: bool) -> None:
        """Die around the nth commit from now."""
        self._countdown = (nth, after)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        self.commits += 1
        if self._countdown is not None:
            nth, after = self._countdown
            self._countdown = (nth - 1, after) if nth > 1 else None
            if nth == 1:
                if after:
                    work(*args, **kwargs)
                self._die()
                return Deferred()
        return super().run(work, *args, **kwargs)


class LabServer:
    """A homeserver of a world; `up` says whether its process runs."""

    def __init__(
        self,
        world: World,
        name: str,
        host: MemoryHost,
        settings: Mapping[str, Any],
        policies: Policies,
        *,
        database: Database | None = None,
        keys: SigningKeys | None = None,
    ) -> None:
        self.world = world
        self.name = name
        self._federation_port = split_server_name(name)[1] or FEDERATION_PORT
        self.host = host
        self.settings = {**SETTINGS, **settings}
        self.policies = policies
        self.database = database or open_database()
        self.entropy = SeededEntropy(f"{world.seed} {name}")
        self.keys = keys or new_signing_keys(parse_server_name(name), self.entropy)
        self.fatal: list[str] = []
        self.up = False
        self.skew_ms = 0
        self.rate = 1.0
        self.clock: ServerClock
        self.parts: Parts
        self.server: Server
        self.commit_workers: CommitWorkers
        self._dead: list[Server] = []

    @property
    def server_name(self) -> str:
        """What it is called in user IDs: in a virtual world, its name."""
        return self.name

    @property
    def client_at(self) -> tuple[str, int]:
        """Where it answers clients."""
        return self.host.address, CLIENT_PORT

    def room_view(self, room_id: str) -> RoomView | None:
        """What it believes of a room, whether it is up or not; None when it does not know it."""
        return read_view(self.name, self.database.reader, room_id)

    def start(self) -> None:
        """Wire and start the server over its database."""
        self.world.run(self.starting(), f"the start of {self.name}")

    async def starting(self) -> None:
        """Like `start`, for what happens by a timer."""
        if self.up:
            raise RuntimeError(f"{self.name} is running already")
        config = load_config(
            None,
            {
                "server.name": self.name,
                "server.client_listen": f"{self.host.address}:{CLIENT_PORT}",
                "server.federation_listen": f"{self.host.address}:{self._federation_port}",
                **self.settings,
            },
        )
        self.clock = ServerClock(self.world.clock, skew_ms=self.skew_ms, rate=self.rate)
        self.commit_workers = CommitWorkers(self.crash)
        platform = Platform(
            clock=self.clock,
            entropy=self.entropy,
            commit_worker=self.commit_workers,
            workers=InlineWorkers(),
            network=self.host,
        )
        database = self.database
        if self.world.yields:
            database = yielding(database, SeededEntropy(f"{self.world.seed} {self.name} yields"), self.clock)
        self.parts = await wire(
            config,
            platform,
            database,
            self.keys,
            on_fatal=self.fatal.append,
            password_cost=CHEAP,
            policies=self.world.watched(self),
        )
        self.server = Server(self.parts, self.host)
        await self.server.start()
        self.up = True
        self.world.started(self)

    def stop(self) -> None:
        """End the process cleanly."""
        self.world.run(self.server.stop(), f"the end of {self.name}")
        self._ended()

    def crash(self) -> None:
        """The process is gone between two instructions: nothing is finished, the database is what it is."""
        if self.database.writing.in_transaction:
            self.database.writing.rollback()
        self._ended()
        self.world.transcript.add("network", self.name, f"{self.name} is killed")

    def snapshot(self) -> Database:
        """A copy of the database as it is now, to put into `database` while the server is down."""
        copy = open_database()
        self.database.writing.backup(copy.writing)
        return copy

    def crash_at_commit(self, nth: int = 1, *, after: bool = False) -> None:
        """Kill the process around the nth commit from now: before it, or `after` it and before all else."""
        self.commit_workers.die_at(counted(nth), after=after)

    def restart(self) -> None:
        """Kill the process if it runs, and start another on its database."""
        if self.up:
            self.crash()
        self.start()

    def set_clock(self, *, skew_ms: int = 0, rate: float | None = None) -> None:
        """Step the wall clock so that it is `skew_ms` ahead of the truth. `rate` (1.001: a thousandth too
        fast) holds from the next start."""
        if rate is not None:
            if not 0 < rate < math.inf:
                raise ValueError(
                    f"A clock cannot run {rate:g} times as fast as the truth: name a number above 0."
                )
            self.rate = rate
        if self.up:
            self.clock.step(skew_ms - self.skew_ms)
        self.skew_ms = skew_ms

    def _ended(self) -> None:
        self.clock.stop()
        self.world.network.crash(self.host.address)
        # Were what is left of it collected, at some moment, its coroutines would be closed then.
        self._dead.append(self.server)
        self.up = False
