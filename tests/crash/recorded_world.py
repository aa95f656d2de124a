"""A server on a virtual clock whose files are recorded.

A recording is one stretch of a server's life: it begins with files (none at first) and a ledger, and ends
when its script ends. `campaign` crashes it at every point.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minihs.events.ids import ServerName
from minihs.federation.signing_keys import SigningKeys, new_signing_keys
from minihs.platform.entropy import SeededEntropy
from minihs.store.database import Database, open_database
from tests.crash.disk_images import Disk, Images
from tests.crash.hands import NUMBER_HEADER, Hand
from tests.crash.ledger import Ledger
from tests.crash.observing import observed_requests
from tests.crash.recorded_disk import Asked, Entry, Recorder, Replied
from tests.support.world import World

NAME = "hs1"
DATABASE = "minihs.db"
KEYS = new_signing_keys(ServerName(NAME), SeededEntropy("the keys of recorded worlds"))
MEMORY = next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)
"""Where files need no disk: that something is synced is seen in the record, the syncs need not take time."""


class MemoryLine:
    """A way to the server of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        (name,) = world.servers
        self.server = world[name]

    def call(self, method: str, path: str, body: Any, *, token: str, number: int) -> tuple[int, Any]:
        response = self.server.driver.request(
            method, path, json=body, token=token, headers={NUMBER_HEADER: str(number)}
        )
        return response.status, response.json

    def call_together(
        self, calls: Sequence[tuple[int, str, str, Any]], *, token: str
    ) -> list[tuple[int, Any]]:
        driver = self.server.driver
        connections = [
            driver.start(method, path, json=body, token=token, headers={NUMBER_HEADER: str(number)})
            for number, method, path, body in calls
        ]
        responses = [driver.finish(connection) for connection in connections]
        for connection in connections:
            connection.drop()
        return [(response.status, response.json) for response in responses]

    def wall_ms(self) -> int:
        return self.world.clock.wall_ms()


@dataclass
class Life:
    """What goes on while a server runs: `alice` is a client with a room, `advance` lets time pass."""

    world: World
    ledger: Ledger
    token: str = ""
    room_id: str = ""

    def hand(self, name: str) -> Hand:
        """A client at work."""
        return Hand(name, self.ledger, MemoryLine(self.world), self.token, self.room_id)

    def advance(self, ms: float) -> None:
        self.world.advance(ms)


@dataclass
class Recording:
    """A stretch of a server's life. `log` starts when its files were `start` and it was `start_ms`."""

    ledger: Ledger
    token: str
    room_id: str
    start: Images
    log: list[tuple[int, Entry]] = field(default_factory=list)
    story_begins: int = 0
    name: str = NAME
    keys: SigningKeys = KEYS
    settings: Mapping[str, Any] = field(default_factory=dict)

    def check_requests(self, earlier: int) -> None:
        """AssertionError unless every request behind the `earlier` ones is in the record, with its reply:
        without them no promise would be held against anything."""
        made = [request.number for request in self.ledger.requests[earlier:]]
        for kind in (Asked, Replied):
            noted = sorted(entry.number for _, entry in self.log if isinstance(entry, kind))
            assert noted == made, f"{kind.__name__}: {noted}, and {made} were made"

    def at_its_end(self) -> Disk:
        """The disk when the last entry has happened."""
        disk = Disk(self.start)
        for _, entry in self.log:
            disk.apply(entry)
        return disk


def record(
    script: Callable[[Life], None],
    *,
    start: Images | None = None,
    start_ms: int | None = None,
    before: Recording | None = None,
    synchronous: str = "FULL",
    **settings: Any,
) -> Recording:
    """Run `script` on a server over `start` (by default a new one, with Alice and her room) and record it.

    The server is not stopped: it is left as it is when the script ends. `before` is the recording that ended
    with the files `start`. `settings` are the server's, in all of its lives.
    """
    ledger = Ledger() if before is None else Ledger(dict(before.ledger.plans), list(before.ledger.requests))
    world = World(seed=1 if before is None else 2)
    if start_ms is not None:
        world.clock.step_wall(start_ms - world.clock.wall_ms())
    recorder = Recorder(world.clock.wall_ms)
    recorder.install()
    try:
        with folder_of(start or {}) as folder, observed_requests(recorder.note):
            database = opened(folder, synchronous)
            server = world.add(NAME, database=database, keys=KEYS, **settings)
            life = Life(world, ledger)
            if before is None:
                alice = server.user("alice")
                life.token, life.room_id = str(alice.token), alice.create_room()
            else:
                life.token, life.room_id = before.token, before.room_id
            begins = len(recorder.log) if before is None else 0
            script(life)
            recording = Recording(
                ledger,
                life.token,
                life.room_id,
                start or {},
                list(recorder.log),
                begins,
                settings=settings,
            )
            recording.check_requests(0 if before is None else len(before.ledger.requests))
            on_disk = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".db-shm"}
            assert recording.at_its_end().kept() == on_disk, "the record does not explain the files"
            server.crash()
            database.close()
    finally:
        recorder.uninstall()
    return recording


@contextmanager
def folder_of(images: Images) -> Iterator[Path]:
    """A folder with these files, for a while."""
    with tempfile.TemporaryDirectory(prefix="minihs-crash-", dir=MEMORY) as name:
        folder = Path(name)
        for file, data in images.items():
            (folder / file).write_bytes(data)
        yield folder


def opened(folder: Path, synchronous: str = "FULL") -> Database:
    """The database of a folder, with checkpoints often enough for a short story to have some."""
    database = open_database(folder / DATABASE, synchronous=synchronous)
    database.writing.execute("PRAGMA wal_autocheckpoint=24")
    return database
