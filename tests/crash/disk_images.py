"""What a crash leaves on the disk: all, none or some of what was not synced, rebuilt from a record.

Pure. The disk is as bad as SQLite allows for: until a file is synced, each sector of what was written to it
may or may not be there, in any order; a file that was never synced may not be there at all, and one that was
deleted without syncing its directory may be back. Sectors themselves are whole (power-safe overwrite).
Source: the SQLite documentation, "Atomic Commit In SQLite", section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash.recorded_disk import (
    Asked,
    Created,
    Deleted,
    Entry,
    FolderSynced,
    Replied,
    Synced,
    Truncated,
    Written,
)

SECTOR = 512

Images = dict[str, bytes]
"""Files by name."""


@dataclass
class _File:
    """`synced` is certain to be there (None: not even the file is); `pending` happened since."""

    synced: bytes | None = None
    pending: list[Written | Truncated | Deleted | Created] = field(default_factory=list)

    def settle_entry(self) -> None:
        """The folder was synced: whether the file is there is certain, what is in it is not."""
        deletions = [at for at, entry in enumerate(self.pending) if isinstance(entry, Deleted)]
        if deletions:
            self.synced, self.pending = None, self.pending[deletions[-1] + 1 :]
        if self.pending and isinstance(self.pending[0], Created):
            self.synced, self.pending = b"", self.pending[1:]


class Disk:
    """The files of one folder, entry by entry."""

    def __init__(self, start: Images | None = None) -> None:
        self._files: dict[str, _File] = {name: _File(data) for name, data in (start or {}).items()}

    def apply(self, entry: Entry) -> None:
        """One more entry of the record has happened."""
        if isinstance(entry, Asked | Replied):
            return
        if isinstance(entry, FolderSynced):
            for file in self._files.values():
                file.settle_entry()
            return
        file = self._files.setdefault(Path(entry.path).name, _File())
        if isinstance(entry, Synced):
            file.synced = _after(file.synced, file.pending)
            file.pending = []
        else:
            file.pending.append(entry)

    def kept(self) -> Images:
        """Everything is there: the process died, the system did not."""
        return _present((name, _after(file.synced, file.pending)) for name, file in self._files.items())

    def dropped(self) -> Images:
        """Only what was synced is there."""
        return _present((name, file.synced) for name, file in self._files.items())

    def torn(self, random: Random) -> Images:
        """Of what was not synced, any sectors are there."""
        return _present(
            (name, _after(file.synced, _some(file.pending, random))) for name, file in self._files.items()
        )

    @property
    def is_settled(self) -> bool:
        """Nothing waits for a sync."""
        return not any(file.pending for file in self._files.values())


def _present(files: object) -> Images:
    return {name: data for name, data in files if data is not None}  # type: ignore[attr-defined]


def _after(data: bytes | None, entries: Sequence[Written | Truncated | Deleted | Created]) -> bytes | None:
    content = None if data is None else bytearray(data)
    for entry in entries:
        if isinstance(entry, Deleted):
            content = None
            continue
        if content is None:
            content = bytearray()
        if isinstance(entry, Written):
            end = entry.offset + len(entry.data)
            if len(content) < end:
                content.extend(bytes(end - len(content)))
            content[entry.offset : end] = entry.data
        elif isinstance(entry, Truncated):
            del content[entry.size :]
            content.extend(bytes(max(0, entry.size - len(content))))
    return None if content is None else bytes(content)


def _some(
    entries: Sequence[Written | Truncated | Deleted | Created], random: Random
) -> list[Written | Truncated | Deleted | Created]:
    """A part of what happened, in any order."""
    parts: list[Written | Truncated | Deleted | Created] = []
    for entry in entries:
        if isinstance(entry, Written):
            parts.extend(_sectors(entry))
        else:
            parts.append(entry)
    likelihood = random.choice((0.1, 0.5, 0.9))
    chosen = [part for part in parts if random.random() < likelihood]
    if not any(isinstance(part, Deleted) for part in chosen):
        random.shuffle(chosen)
    return chosen


def _sectors(entry: Written) -> list[Written]:
    """The write, cut where a sector of the file ends."""
    pieces = []
    start = 0
    while start < len(entry.data):
        end = min(len(entry.data), start + SECTOR - (entry.offset + start) % SECTOR)
        pieces.append(Written(entry.path, entry.offset + start, entry.data[start:end]))
        start = end
    return pieces
