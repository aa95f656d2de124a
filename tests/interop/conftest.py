"""Running servers that tests share: one of ours for SDKs, and a pair of ours and a Synapse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from minihs.demo.processes import ServerProcess
from tests.support.peers import Cast, Peer
from tests.support.processes import Stage
from tests.support.synapse import PYTHON as SYNAPSE_PYTHON
from tests.support.synapse import SynapseProcess

COMPLAINT = re.compile(
    r" (WARNING|ERROR|CRITICAL) synapse\.(federation|handlers\.federation|crypto|event_auth|state)"
    r"(?!.* Failed to send request: )"  # while nobody listens
)
"""What Synapse would log about events, signatures or requests that it did not like."""


@dataclass
class Pair:
    """Our server and Synapse, and as many users on each as a test asks for."""

    stage: Stage
    minihs: ServerProcess
    synapse: SynapseProcess
    cast: Cast = field(default_factory=Cast)

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
    pair = Pair(stage, stage.minihs("minihs"), stage.synapse("synapse"))
    try:
        pair.minihs.start()
        pair.synapse.start()
        yield pair
    finally:
        stage.close()
    assert "Traceback" not in pair.minihs.log_file.read_text()
    complaints = [line for line in pair.synapse.log_file.read_text().splitlines() if COMPLAINT.search(line)]
    assert complaints == []


@pytest.fixture
def pair(running_pair: Pair) -> Iterator[Pair]:
    """The running servers, with users of this test's own."""
    mine = Pair(running_pair.stage, running_pair.minihs, running_pair.synapse)
    with mine.cast:
        yield mine
