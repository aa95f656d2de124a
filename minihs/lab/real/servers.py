"""The servers of a real world: processes of `minihs serve --lab`, and Synapses, which have no laboratory.

What each believes of a room is read from its database, so that one that is down can be looked at, too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from minihs.lab.http_client import HttpClient
from minihs.lab.live.bench import Kept, Opened
from minihs.lab.pending import scheduled, unsent
from minihs.lab.real import NotInRealWorlds, NotThere
from minihs.lab.real.synapse_process import SynapseProcess
from minihs.lab.real.synapse_views import synapse_view
from minihs.lab.servers import counted
from minihs.lab.transcript import clock_time
from minihs.lab.views import RoomView, read_view
from minihs.processes import ServerProcess
from minihs.store.reader import Reader

if TYPE_CHECKING:
    from minihs.lab.real.world import RealWorld

SYNAPSE_PYTHON = "MINIHS_LAB_SYNAPSE"
"""The environment variable that names the interpreter of an environment with Synapse in it."""
SYNAPSE_RETRIES = {
    # A request that fails is tried again within itself first, after pauses of up to a minute: not here.
    "max_short_retries": 0,
    "max_long_retries": 0,
    "destination_min_retry_interval": "1s",
    "destination_max_retry_interval": "2s",
    "destination_retry_multiplier": 2,
}
PATIENCE_MS = 120_000
"""How long a laboratory may take to turn a clock."""


class RealServer:
    """What every server of a real world has; `up` says whether its process runs."""

    process: ServerProcess | SynapseProcess
    skew_ms = 0
    shares_time = False
    """Whether its clock can be turned."""

    def __init__(self, world: RealWorld, name: str) -> None:
        self.world = world
        self.name = name

    @property
    def server_name(self) -> str:
        """What it is called in user IDs."""
        return self.process.server_name

    @property
    def client_at(self) -> tuple[str, int]:
        """Where it answers clients."""
        return "127.0.0.1", self.process.client_port

    @property
    def up(self) -> bool:
        process = self.process.process
        return process is not None and process.poll() is None

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        if self.up:
            raise RuntimeError(f"{self.name} is running already")
        self.process.start()
        self.world.started_process(self)

    def stop(self) -> None:
        """End the process cleanly."""
        self.process.stop()

    def crash(self) -> None:
        """`kill -9`."""
        self.world.before_end(self)
        self.process.kill()
        self.world.transcript.add("network", self.name, f"{self.name} is killed")

    def restart(self) -> None:
        """Kill the process if it runs, and start another on its database."""
        if self.up:
            self.crash()
        self.start()

    def room_view(self, room_id: str) -> RoomView | None:
        """What it believes of a room; None when it does not know it."""
        raise NotImplementedError

    def pending(self, now_ms: float) -> list[str]:  # noqa: ARG002
        """What it has to do yet, in words."""
        return []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in RealServer.__annotations__:
            raise AttributeError(name)
        raise NotThere(
            f"`{name}` is in this process for servers of virtual worlds only; {self.name} is another."
        )

    def _refuse(self, what: str) -> NoReturn:
        raise NotInRealWorlds(f"{self.name} is a Synapse: it has no laboratory, and {what}.")

    def set_clock(self, *, skew_ms: int = 0, rate: float | None = None) -> None:  # noqa: ARG002
        """Step the wall clock so that it is `skew_ms` ahead of the world's."""
        self._refuse("its clock is the machine's")

    def crash_at_commit(self, nth: int = 1, *, after: bool = False) -> None:  # noqa: ARG002
        """Kill the process around the nth commit from now."""
        self._refuse("its commits cannot be counted: `crash()` kills it now")


class MinihsServer(RealServer):
    """One of ours, with its laboratory."""

    shares_time = True
    process: ServerProcess

    def __init__(self, world: RealWorld, name: str, process: ServerProcess) -> None:
        super().__init__(world, name)
        self.process = process
        self.began_ms = 0.0
        """When its process was started, by the world's clock."""
        self._lab: HttpClient
        self._opened: Opened

    def start(self) -> None:
        data = self.process.data_dir
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        ahead_ms = self.world.clock.ahead_ms + self.skew_ms
        (data / "lab-clock.json").write_bytes(msgspec.json.encode(Kept(ahead_ms)))
        super().start()

    def connect(self) -> None:
        """Find the laboratory of a process that has just been started."""
        self._opened = msgspec.json.decode((self.process.data_dir / "lab.json").read_bytes(), type=Opened)
        where = urlsplit(self._opened.url)
        world = self.world
        self._lab = HttpClient(world.sockets, world.real_clock, where.hostname or "", where.port or 0)

    async def lab(self, method: str, path: str, body: Any = None) -> Any:
        """The laboratory's answer; RuntimeError when it refuses."""
        root = urlsplit(self._opened.url).path
        answer = await self._lab.request(
            method, root + path, json=body, token=self._opened.secret, patience_ms=PATIENCE_MS
        )
        if answer.status != 200:
            raise RuntimeError(f"the laboratory of {self.name}: {answer.body.decode()}")
        return answer.json

    def set_clock(self, *, skew_ms: int = 0, rate: float | None = None) -> None:
        if rate is not None:
            raise NotInRealWorlds("The clock of a real process runs as fast as the machine's.")
        if self.up:
            step = {"ms": skew_ms - self.skew_ms}
            self.world.run(self.lab("POST", "/clock/step", step), f"a step of the clock of {self.name}")
        self.skew_ms = skew_ms

    def crash_at_commit(self, nth: int = 1, *, after: bool = False) -> None:
        counted(nth)
        self.world.before_end(self)
        body = {"at_commit": nth, "after": after}
        self.world.run(self.lab("POST", "/kill", body), f"the laboratory of {self.name}")

    def room_view(self, room_id: str) -> RoomView | None:
        with closing(_read_only(self.process.data_dir / "minihs.db")) as connection:
            return read_view(self.name, Reader(connection), room_id)

    def pending(self, now_ms: float) -> list[str]:
        here_ms = self.world.clock.wall_ms() + self.skew_ms

        def moment(wall_ms: int) -> str:
            return clock_time(max(0.0, now_ms + wall_ms - here_ms))

        with closing(_read_only(self.process.data_dir / "minihs.db")) as connection:
            reader = Reader(connection)
            return [*unsent(self.name, reader, moment), *scheduled(self.name, reader, moment)]


class SynapseServer(RealServer):
    """A Synapse from PyPI."""

    process: SynapseProcess

    def __init__(self, world: RealWorld, name: str, process: SynapseProcess) -> None:
        super().__init__(world, name)
        self.process = process

    def room_view(self, room_id: str) -> RoomView | None:
        with closing(_read_only(self.process.folder / "synapse.db")) as connection:
            return synapse_view(self.name, connection, room_id)


def as_settings(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `--set` takes them."""
    return [f"{name}={msgspec.json.encode(value).decode()}" for name, value in settings.items()]


def synapse_python(chosen: Path | str | None) -> Path:
    """The interpreter of an environment with Synapse. NotInRealWorlds says how to get one."""
    found = chosen or os.environ.get(SYNAPSE_PYTHON)
    if found is not None and Path(found).exists():
        return Path(found)
    lacking = f"{found} is not there" if found else "none is named"
    raise NotInRealWorlds(
        f"A Synapse is asked for, and {lacking}. Make one (`python3 -m venv synapse && "
        "synapse/bin/pip install matrix-synapse`), and name its interpreter, synapse/bin/python: by "
        f"`synapse_python=…`, or by {SYNAPSE_PYTHON} in the environment."
    )


def _read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True)
