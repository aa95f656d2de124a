"""A database in memory whose store really waits at every read; see `minihs.lab.yielding`."""

from __future__ import annotations

from minihs.lab.yielding import YieldingReader, yielding
from minihs.platform.entropy import SeededEntropy
from minihs.store.database import Database, open_database

__all__ = ["YieldingReader", "open_yielding_database"]


def open_yielding_database(seed: int) -> Database:
    """Its reads really wait once its reader has been given a clock."""
    return yielding(open_database(), SeededEntropy(seed))
