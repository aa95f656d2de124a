"""The data directory: where a server keeps its database and signing key, and the lock on it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class DataDirectoryUnusable(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class DataDirectoryInUse(DataDirectoryUnusable):
    """Another process owns it."""


class DataDirectory:
    """A directory that one server process owns while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "minihs.db"

    @property
    def admin_socket(self) -> Path:
        """Where a running server answers administrators' commands."""
        return self.path / "admin.sock"

    @property
    def command_socket(self) -> Path:
        """Where a command that found no server running answers itself, and nobody else."""
        return self.path / "command.sock"

    def create(self) -> None:
        """Make the directory, readable by its owner alone, if it is not there."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable("made", error) from error

    def lock(self) -> None:
        """Own the directory until `unlock` or the end of the process, whatever way it ends.

        Raises DataDirectoryInUse when another process owns it, DataDirectoryUnusable for other reasons.
        """
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable("written", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = f"{os.getpid()}\n".encode("ascii")
            os.pwrite(lock, owner, 0)
            os.ftruncate(lock, len(owner))
        except BlockingIOError as error:
            held_by = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise DataDirectoryInUse(
                f"The data directory {self.path} is in use by another process ({held_by}). "
                "Stop that server, or name another --data-dir."
            ) from error
        except OSError as error:
            os.close(lock)
            raise self._unusable("locked", error) from error
        self._lock = lock

    def unlock(self) -> None:
        """Give the directory up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _unusable(self, what: str, error: OSError) -> DataDirectoryUnusable:
        return DataDirectoryUnusable(f"The data directory {self.path} cannot be {what}: {error.strerror}.")
