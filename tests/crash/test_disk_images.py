"""What may be on a disk after a crash, entry by entry."""

from __future__ import annotations

from random import Random

from tests.crash.disk_images import SECTOR, Disk
from tests.crash.recorded_disk import Created, Deleted, Entry, FolderSynced, Synced, Truncated, Written

A = "/data/a.db"


def disk_after(*entries: Entry, **start: bytes) -> Disk:
    disk = Disk({f"{name}.db": data for name, data in start.items()})
    for entry in entries:
        disk.apply(entry)
    return disk


def test_what_was_not_synced_may_be_lost() -> None:
    disk = disk_after(Written(A, 2, b"xy"), a=b"12345")
    assert disk.kept() == {"a.db": b"12xy5"}
    assert disk.dropped() == {"a.db": b"12345"}
    disk.apply(Synced(A))
    assert disk.dropped() == {"a.db": b"12xy5"}
    assert disk.is_settled


def test_a_file_that_was_never_synced_may_be_missing() -> None:
    disk = disk_after(Created(A), Written(A, 0, b"x"))
    assert disk.dropped() == {}
    disk.apply(FolderSynced())
    assert disk.dropped() == {"a.db": b""}


def test_a_deleted_file_may_be_back_until_its_folder_is_synced() -> None:
    disk = disk_after(Deleted(A), a=b"old")
    assert disk.kept() == {}
    assert disk.dropped() == {"a.db": b"old"}
    disk.apply(FolderSynced())
    assert disk.dropped() == {}


def test_a_file_that_is_made_anew_is_not_the_one_that_was_deleted() -> None:
    disk = disk_after(Deleted(A), Created(A), Written(A, 0, b"n"), a=b"old")
    assert disk.kept() == {"a.db": b"n"}
    assert disk.dropped() == {"a.db": b"old"}
    disk.apply(FolderSynced())
    assert disk.dropped() == {"a.db": b""}


def test_a_file_grows_and_shrinks() -> None:
    assert disk_after(Written(A, 3, b"x")).kept() == {"a.db": b"\0\0\0x"}
    assert disk_after(Truncated(A, 2), a=b"12345").kept() == {"a.db": b"12"}
    assert disk_after(Truncated(A, 4), a=b"12").kept() == {"a.db": b"12\0\0"}


def test_torn_writes_leave_whole_sectors_of_before_or_after() -> None:
    before, after = b"b" * 4 * SECTOR, b"a" * 4 * SECTOR
    disk = disk_after(Written(A, 0, after), a=before)
    seen = {disk.torn(Random(seed))["a.db"] for seed in range(100)}
    assert len(seen) > 4
    for image in seen:
        sectors = [image[start : start + SECTOR] for start in range(0, len(image), SECTOR)]
        assert set(sectors) <= {before[:SECTOR], after[:SECTOR]}


def test_a_write_across_sectors_is_torn_at_their_ends() -> None:
    disk = disk_after(Written(A, SECTOR - 1, b"aa"), a=b"b" * 2 * SECTOR)
    pairs = {disk.torn(Random(seed))["a.db"][SECTOR - 1 : SECTOR + 1] for seed in range(50)}
    assert pairs == {b"bb", b"ab", b"ba", b"aa"}
