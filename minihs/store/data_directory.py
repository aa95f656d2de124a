"""The data directory: where a server keeps its database and signing key, and the lock on it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO


class DataDirectoryUnusable(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class DataDirectoryInUse(DataDirectoryUnusable):
    """Another process owns it."""


class DataDirectory:
    """A directory that one server process owns while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "minihs.db"

    @property
    def admin_socket(self) -> Path:
        """Where the process that owns the directory answers administrators' commands."""
        return self.path / "admin.sock"

    def create(self) -> None:
        """Make the directory, readable by its owner alone, if it is not there."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The data directory {self.path} cannot be made: {error.strerror}."
            ) from error

    def lock(self) -> None:
        """Own the directory until `unlock` or the end of the process, whatever way it ends.

        Raises DataDirectoryInUse when another process owns it, DataDirectoryUnusable for other reasons.
        """
        path = self.path / "lock"
        try:
            lock = path.open("a+", encoding="ascii")
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The data directory {self.path} cannot be written: {error.strerror}."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise DataDirectoryInUse(
                f"The data directory {self.path} is in use by another process"
                f"{f' ({owner})' if owner else ''}. Stop that server, or name another --data-dir."
            ) from error
        except OSError as error:
            lock.close()
            raise DataDirectoryUnusable(
                f"The data directory {self.path} cannot be locked: {error.strerror}."
            ) from error
        try:
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The data directory {self.path} cannot be written: {error.strerror}."
            ) from error
        self._lock = lock

    def unlock(self) -> None:
        """Give the directory up."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
