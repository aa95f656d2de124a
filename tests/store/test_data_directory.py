"""The data directory: private, and one process's at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minihs.store.data_directory import DataDirectory, DataDirectoryInUse, DataDirectoryUnusable


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "one" / "data")
    directory.create()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    directory.create()  # a second start finds it there


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.lock()
    with pytest.raises(DataDirectoryInUse, match=rf"in use by another process \({os.getpid()}\)"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_unlocking_what_was_never_locked_does_nothing(tmp_path: Path) -> None:
    DataDirectory(tmp_path).unlock()


def test_a_file_in_its_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirectoryUnusable, match="cannot be made: File exists"):
        DataDirectory(tmp_path / "data").create()


def test_a_directory_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        DataDirectoryUnusable, match="cannot be written: No such file or directory"
    ) as refusal:
        DataDirectory(tmp_path / "nowhere").lock()
    assert not isinstance(refusal.value, DataDirectoryInUse)


def test_a_full_disk_is_reported_at_the_lock(tmp_path: Path) -> None:
    """`/dev/full` is a file whose every write fails for want of room."""
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(DataDirectoryUnusable, match="cannot be locked: No space left on device"):
        DataDirectory(tmp_path).lock()
