"""What a server is built on: the seams to the outside, and why one cannot start."""

from __future__ import annotations

import msgspec

from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.platform.network import Network
from minihs.platform.workers import Workers


class CannotStart(Exception):
    """The server cannot run as it is set up; the message says why and what to do."""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The seams to the outside. `commit_worker` has one thread, `workers` may have several; both are inline
    in a virtual world."""

    clock: Clock
    entropy: Entropy
    commit_worker: Workers
    workers: Workers
    network: Network
