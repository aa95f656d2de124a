"""Crashes a recorded server at every point of its record, and judges the same server on what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from random import Random

from minihs.store.database import Database
from tests.crash.comeback import gather_evidence, repeat_requests
from tests.crash.disk_images import Disk, Images
from tests.crash.ledger import Ledger
from tests.crash.promises import check
from tests.crash.recorded_disk import Asked, Replied, Written
from tests.crash.recorded_world import KEYS, NAME, Life, Recording, folder_of, opened
from tests.crash.soundness import check_database
from tests.support.world import World

THINNED = 8
"""One of so many points is looked at where they are thinned."""

ALL_OVER_MS = 200_000
"""Longer than any delay of a story."""


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
    server = world.add(recording.name, database=database, keys=recording.keys, **recording.settings)
    life = Life(world, ledger, recording.token, recording.room_id)
    hand = life.hand("returned")
    repeat_requests(hand, also_actions=seed % 2 == 0)
    world.advance(ALL_OVER_MS)
    check(ledger, gather_evidence(hand))
    server.stop()
