"""A pytest plugin: the fixture `minihs`, which makes worlds and, on request, servers on real sockets.

def test_my_client(minihs):
    world = minihs.world("hs1")
    url = minihs.listen(world, "hs1")    # http://127.0.0.1:…
    …                                    # point the client under test at it
    minihs.advance(world, hours=24)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from minihs.lab.loopback import Loopback
    from minihs.lab.world import World


class Minihs:
    """Worlds of one test; everything is taken down with it."""

    def __init__(self) -> None:
        self._worlds: list[World] = []
        self._loopbacks: dict[tuple[int, str], Loopback] = {}
        self._lock = threading.RLock()

    def world(self, *servers: str, **details: Any) -> World:
        """A fresh world; `details` are those of `minihs.lab.World` (seed, settings, policies, latencies)."""
        from minihs.lab.world import World

        world = World(servers or ("hs1",), **details)
        self._worlds.append(world)
        return world

    def listen(self, world: World, server: str) -> str:
        """The URL at which a server of a world answers real HTTP requests, on loopback, until the test ends.

        From now on move that world's time by `advance` here only.
        """
        listening = self._loopbacks.get((id(world), server))
        if listening is not None:
            return listening.url
        if world.real:
            return "http://{}:{}".format(*world.server(server).client_at)
        from minihs.lab.loopback import Loopback

        with self._lock:
            loopback = Loopback(world, server, self._lock)
        self._loopbacks[id(world), server] = loopback
        return loopback.url

    def advance(self, world: World, **durations: float) -> None:
        """Let time pass in a world whose servers listen."""
        with self._lock:
            world.advance(**durations)
        for (of, _), loopback in self._loopbacks.items():
            if of == id(world):
                loopback.flush()

    def close(self) -> None:
        """Take everything down."""
        for loopback in self._loopbacks.values():
            loopback.close()
        for world in self._worlds:
            world.stop()


@pytest.fixture
def minihs() -> Iterator[Minihs]:
    """Worlds with a virtual clock, made in milliseconds; see `docs/lab.md`."""
    made = Minihs()
    try:
        yield made
    finally:
        made.close()
