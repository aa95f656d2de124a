"""A server on a virtual clock whose files are recorded, and the same server started from what a crash left.

A recording is one stretch of a server's life: it begins with files (none at first) and a ledger, and ends
when its script ends. `crash_points` walks through it; `Survivor` judges one of them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

from minihs.events.ids import ServerName
from minihs.federation.signing_keys import SigningKeys, new_signing_keys
from minihs.platform.entropy import SeededEntropy
from minihs.store.database import Database, open_database
from tests.crash.comeback import gather_evidence, repeat_requests
from tests.crash.disk_images import Disk, Images
from tests.crash.hands import NUMBER_HEADER, Hand
from tests.crash.ledger import Ledger
from tests.crash.observing import observed_requests
from tests.crash.promises import check
from tests.crash.recorded_disk import Asked, Entry, Recorder, Replied, Written
from tests.crash.soundness import check_database
from tests.support.world import World

NAME = "hs1"
DATABASE = "minihs.db"
KEYS = new_signing_keys(ServerName(NAME), SeededEntropy("the keys of recorded worlds"))
MEMORY = next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)
"""Where files need no disk: that something is synced is seen in the record, the syncs need not take time."""

THINNED = 8
"""One of so many points is looked at where they are thinned."""

ALL_OVER_MS = 200_000
"""Longer than any delay of a story."""


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
) -> Recording:
    """Run `script` on a server over `start` (by default a new one, with Alice and her room) and record it.

    The server is not stopped: it is left as it is when the script ends. `before` is the recording that ended
    with the files `start`.
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
            server = world.add(NAME, database=database, keys=KEYS)
            life = Life(world, ledger)
            if before is None:
                alice = server.user("alice")
                life.token, life.room_id = str(alice.token), alice.create_room()
            else:
                life.token, life.room_id = before.token, before.room_id
            begins = len(recorder.log) if before is None else 0
            script(life)
            recording = Recording(ledger, life.token, life.room_id, start or {}, list(recorder.log), begins)
            on_disk = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".db-shm"}
            assert recording.at_its_end().kept() == on_disk, "the record does not explain the files"
            server.crash()
            database.close()
    finally:
        recorder.uninstall()
    return recording


@dataclass
class CrashPoint:
    """One moment of a recording: what had happened by then."""

    index: int
    at_ms: int
    disk: Disk
    begun: frozenset[int]
    answered: frozenset[int]


def crash_points(recording: Recording) -> Iterator[CrashPoint]:
    """Every moment at which something had just happened to the files or to a request, story only.

    The disk of a point changes when the next one is asked for.
    """
    disk = Disk(recording.start)
    earlier = {r.number for r in recording.ledger.requests}
    numbers = {entry.number for _, entry in recording.log if isinstance(entry, Asked)}
    begun, answered = earlier - numbers, set()
    answered |= {r.number for r in recording.ledger.requests if r.number in begun and r.status is not None}
    for index, (at_ms, entry) in enumerate(recording.log):
        disk.apply(entry)
        if isinstance(entry, Asked):
            begun.add(entry.number)
        elif isinstance(entry, Replied):
            answered.add(entry.number)
        if index + 1 >= recording.story_begins:
            yield CrashPoint(index, at_ms, disk, frozenset(begun), frozenset(answered))


def images_of(point: CrashPoint, random: Random, torn: int) -> Iterator[tuple[str, Images]]:
    """What may be on the disk after a crash at that point, by how it came about."""
    yield "kept", point.disk.kept()
    if not point.disk.is_settled:
        yield "dropped", point.disk.dropped()
        for number in range(torn):
            yield f"torn {number}", point.disk.torn(random)


@dataclass
class Campaign:
    """Judges crash points; looks at each different database with each different ledger once."""

    recording: Recording
    torn: int = 1
    points: int = 0
    disks: int = 0
    opened: int = 0
    restarts: int = 0
    _judged: set[object] = field(default_factory=set)

    def summary(self) -> str:
        """How much was tried."""
        return (
            f"{self.points} points, {self.disks} disks; {self.opened} different ones were opened, "
            f"a server lived on {self.restarts} different databases"
        )

    def run(self, *, away_ms: int = 0, thinned: bool = False) -> None:
        """Crash at every point of the story, and judge what is there when the server is back.

        `thinned` leaves out most points in the middle of several writes to one file: what can be there at
        such a point depends on SQLite alone, and little on us.
        """
        points = crash_points(self.recording)
        self._crash(
            (point for point in points if not (thinned and self._amid_writes(point))),
            lambda point, images: self.judge(point, images, away_ms),
        )

    def run_replies(self) -> None:
        """Lose what was not synced at the moment of each reply: it must not have told too much."""
        for point in crash_points(self.recording):
            if isinstance(self.recording.log[point.index][1], Replied):
                self.points += 1
                self.judge(point, point.disk.dropped(), 0)

    def run_setup(self) -> None:
        """Crash at points from the very first start to the first request of the story."""
        points = crash_points(replace(self.recording, story_begins=0))
        before = takewhile(lambda point: not point.begun, points)
        self._crash((point for point in before if not self._amid_writes(point)), self.judge_setup)

    def _amid_writes(self, point: CrashPoint) -> bool:
        """Whether the same file is written to before and after the point; every so often this is denied."""
        _, entry = self.recording.log[point.index]
        _, following = self.recording.log[min(point.index + 1, len(self.recording.log) - 1)]
        same = isinstance(entry, Written) and isinstance(following, Written) and entry.path == following.path
        return same and point.index % THINNED != 0

    def _crash(self, points: Iterable[CrashPoint], judge: Callable[[CrashPoint, Images], None]) -> None:
        random = Random(len(self.recording.log))
        for point in points:
            self.points += 1
            for kind, images in images_of(point, random, self.torn):
                self.disks += 1
                try:
                    judge(point, images)
                except Exception as error:  # whatever fails, the crash that led to it must be named
                    what = self.recording.log[point.index][1]
                    raise AssertionError(f"crash at {point.index} ({what!r:.80}), {kind}: {error}") from error

    def judge(self, point: CrashPoint, images: Images, away_ms: int) -> None:
        """Restart from `images` and hold the server to what its clients knew at `point`."""
        with self._unknown_database(point, images) as database:
            if database is not None:
                ledger = self.recording.ledger.as_of(point.begun, point.answered)
                survive(database, self.recording, ledger, point.at_ms + away_ms, seed=100 + point.index)
                check_database(database)

    def judge_setup(self, point: CrashPoint, images: Images) -> None:
        """Restart from `images`, which are from before the story: the server must serve newcomers."""
        with self._unknown_database(point, images) as database:
            if database is not None:
                World(seed=9).add(NAME, database=database, keys=KEYS).user("carol").create_room()

    @contextmanager
    def _unknown_database(self, point: CrashPoint, images: Images) -> Iterator[Database | None]:
        """The database that is in `images`; None when it, with this ledger, was judged before."""
        files = hashlib.blake2b(b"".join(name.encode() + images[name] for name in sorted(images))).digest()
        if self._is_known(files, point):
            yield None
            return
        with folder_of(images) as folder:
            self.opened += 1
            database = opened(folder)
            try:
                if self._is_known(check_database(database), point):
                    yield None
                else:
                    self.restarts += 1
                    yield database
            finally:
                database.close()

    def _is_known(self, digest: bytes, point: CrashPoint) -> bool:
        known = (digest, point.begun, point.answered)
        if known in self._judged:
            return True
        self._judged.add(known)
        return False


def survive(database: Database, recording: Recording, ledger: Ledger, now_ms: int, seed: int) -> None:
    """Start a server over `database`, be a client that comes back, and check the promises at the end."""
    world = World(seed=seed)
    world.clock.step_wall(now_ms - world.clock.wall_ms())
    server = world.add(recording.name, database=database, keys=recording.keys)
    life = Life(world, ledger, recording.token, recording.room_id)
    hand = life.hand("returned")
    repeat_requests(hand, also_actions=seed % 2 == 0)
    world.advance(ALL_OVER_MS)
    check(ledger, gather_evidence(hand))
    server.stop()


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
