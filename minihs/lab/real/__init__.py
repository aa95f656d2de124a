"""Worlds of real processes: `World(real=True)`. Sockets, TLS, SQLite files, and a Synapse among them.

What the worlds of this package cannot do, they say (`NotInRealWorlds`).
"""

from __future__ import annotations


class NotInRealWorlds(Exception):
    """Real processes cannot do this; the message says what can be done instead."""


class NotThere(NotInRealWorlds, AttributeError):
    """Something that only virtual worlds have."""
