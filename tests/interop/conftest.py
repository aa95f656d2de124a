"""Running servers that tests share: one of ours for SDKs, and a pair of ours and a Synapse."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from minihs.processes import ServerProcess
from tests.support.peers import Cast, Peer
from tests.support.processes import AnyServer, NamedServer, Stage
from tests.support.synapse import PYTHON as SYNAPSE_PYTHON
from tests.support.synapse import SynapseProcess

COMPLAINT = re.compile(
    r" (WARNING|ERROR|CRITICAL) synapse\.(federation|handlers\.federation|crypto|event_auth|state)"
    r"(?!.* Failed to send request: )"  # while nobody listens
)
"""What Synapse would log about events, signatures or requests that it did not like."""

SIDES = ("minihs", "synapse")

either_side = pytest.mark.parametrize("side", SIDES)
"""Told once with our user as the room's host and Synapse's as the guest, and once the other way round."""

every_version = pytest.mark.parametrize("version", ["10", "11", "12"])


@dataclass
class Pair:
    """Our server and Synapse, and as many users on each as a test asks for."""

    stage: Stage
    minihs: NamedServer
    synapse: SynapseProcess
    cast: Cast = field(default_factory=Cast)
    started: list[AnyServer] = field(default_factory=list)
    """Servers beside the two that end with the test."""
    provoked: set[str] = field(default_factory=set)
    """What Synapse may complain of, because a story is about that."""

    def ours(self, name: str) -> Peer:
        """A new user on our server."""
        return self.cast.user(self.minihs, name)

    def theirs(self, name: str) -> Peer:
        """A new user on Synapse."""
        return self.cast.user(self.synapse, name)

    def users(self, side: str) -> tuple[Peer, Peer]:
        """A user on the side that is named, and one on the other."""
        ours, theirs = self.ours("ann"), self.theirs("sue")
        return (ours, theirs) if side == "minihs" else (theirs, ours)

    def neighbour(self, peer: Peer, name: str) -> Peer:
        """A new user on the server of `peer`."""
        return self.ours(name) if peer.server_name == self.minihs.server_name else self.theirs(name)

    def room(self, side: str, version: str = "12") -> tuple[Peer, Peer, str]:
        """A public room of a host on that side with a guest from the other, as both know."""
        host, guest = self.users(side)
        room_id = host.create(version)
        self.joins(guest, room_id, host)
        return host, guest, room_id

    def joins(self, newcomer: Peer, room_id: str, host: Peer) -> None:
        """Somebody joins by the server of `host`, who comes to know of it."""
        newcomer.join(room_id, via=host.server_name)
        host.sees_membership(newcomer, room_id, "join")

    def start(self, server: AnyServer) -> AnyServer:
        """Start another server, which ends with the test."""
        self.started.append(server)
        server.start()
        return server

    def provokes(self, *complaints: str) -> None:
        """Part of the story is that Synapse complains: parts of what it will log."""
        self.provoked.update(complaints)

    def server(self, side: str) -> AnyServer:
        """The server of that side."""
        return self.minihs if side == "minihs" else self.synapse

    @contextmanager
    def parted(self, *sides: str) -> Iterator[None]:
        """Neither server reaches the other; or nobody reaches those that are named."""
        links = [self.stage.links[side] for side in sides or SIDES]
        for link in links:
            link.cut()
        try:
            yield
        finally:
            for link in links:
                link.mend()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """After each scenario, both servers have the same complete current state of every room they share."""
    yield
    pair: Pair | None = getattr(item, "funcargs", {}).get("pair")
    if pair is not None:
        pair.cast.assert_agreement()


@pytest.fixture(scope="session")
def interop_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of ours for SDKs, for the whole session."""
    stage = Stage(tmp_path_factory.mktemp("with-sdks"))
    server = stage.minihs("minihs")
    try:
        server.start()
        yield server
    finally:
        stage.close()
    assert "Traceback" not in server.log_file.read_text()


@pytest.fixture(scope="session")
def running_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, for the whole session. Nothing may have gone wrong in them unseen when it ends."""
    if not SYNAPSE_PYTHON.exists():
        pytest.skip("Synapse is not installed: scripts/interop-environment synapse")
    stage = Stage(tmp_path_factory.mktemp("with-synapse"))
    pair = Pair(
        stage,
        stage.minihs("minihs", linked="localhost"),
        stage.synapse("synapse", linked="127.0.0.1"),
    )
    try:
        pair.minihs.start()
        pair.synapse.start()
        yield pair
    finally:
        stage.close()
    assert "Traceback" not in pair.minihs.log_file.read_text()
    complaints = [line for line in pair.synapse.log_file.read_text().splitlines() if COMPLAINT.search(line)]
    assert [line for line in complaints if not any(part in line for part in pair.provoked)] == []


@pytest.fixture
def pair(running_pair: Pair) -> Iterator[Pair]:
    """The running servers, with users of this test's own."""
    mine = replace(running_pair, cast=Cast(), started=[])
    for server in (mine.minihs, mine.synapse):
        if server.process is None or server.process.poll() is not None:
            server.start()  # a story that failed may have left it away
    with mine.cast:
        yield mine
    for server in mine.started:
        server.stop()
