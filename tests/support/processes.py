"""Real server processes for tests: a stage with a throwaway authority that ends what was started on it.

What the processes are is in `minihs.processes` and `tests.support.synapse`; no claims belong here.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from minihs.events.ids import ServerName
from minihs.federation.dev_ca import DevCa, names_of
from minihs.processes import ServerProcess, free_ports
from tests.support.link import Link
from tests.support.synapse import SynapseProcess

Found = TypeVar("Found")

PATIENCE_S = 30.0
"""How long anything may take that another process does; far more than it needs on a busy machine."""

SYNAPSE_RETRIES = {
    # A request that fails is tried again within itself first, after pauses of up to a minute: not here.
    "max_short_retries": 0,
    "max_long_retries": 0,
    "destination_min_retry_interval": "1s",
    "destination_max_retry_interval": "2s",
    "destination_retry_multiplier": 2,
}

QUICK_RETRIES = ("federation.retry_initial_ms=100", "federation.retry_max_ms=1000")


def until(look: Callable[[], Found | None], what: str, patience_s: float = PATIENCE_S) -> Found:
    """What `look` finds, asking again until it finds something; AssertionError after a while."""
    ends = time.monotonic() + patience_s
    pause_s = 0.01
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < ends, f"waited {patience_s:.0f} s in vain for {what}"
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.3)  # who is asked has work to do


@dataclass(kw_only=True)
class NamedServer(ServerProcess):
    """A server of ours whose name is not that of its own listener: something stands before it."""

    name: str

    @property
    def server_name(self) -> ServerName:
        return ServerName(self.name)

    def rotate_key(self) -> None:
        """Sign with a new key from the next start on; the old one is published as one that has ended."""
        options = ["--server-name", self.name, "--data-dir", str(self.data_dir)]
        command = [sys.executable, "-m", "minihs", "keys", "rotate", *options]
        subprocess.run(command, check=True, capture_output=True)


AnyServer = NamedServer | SynapseProcess


class Stage:
    """A folder with a certificate authority of its own, and the server processes started in it.

    A server that is `linked` to the others by a name of the loopback is reached by them through
    `links[label]`, which can be cut; all servers go on meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = DevCa(folder / "ca")
        self.links: dict[str, Link] = {}
        self._processes: list[AnyServer] = []

    def minihs(
        self,
        label: str,
        settings: Iterable[str] = QUICK_RETRIES,
        linked: str | None = None,
        flags: Iterable[str] = (),
    ) -> NamedServer:
        """A server of ours that has not been started yet."""
        place = self._place(label)
        name = self._name(label, linked, place["federation_port"])
        server = NamedServer(
            label=label, name=name, folder=self.folder, settings=settings, flags=flags, **place
        )
        self._processes.append(server)
        return server

    def synapse(
        self, label: str, settings: dict[str, Any] | None = None, linked: str | None = None
    ) -> SynapseProcess:
        """A Synapse that has not been started yet, with these settings of its own."""
        place = self._place(label)
        name = self._name(label, linked, place["federation_port"])
        extra = {"federation": SYNAPSE_RETRIES, **(settings or {})}
        server = SynapseProcess(server_name=name, folder=self.folder / label, extra=extra, **place)
        self._processes.append(server)
        return server

    def close(self) -> None:
        """End every process of this stage, whatever state it is in, and whatever goes wrong with another."""
        with ExitStack() as ending:
            for process in self._processes:
                ending.callback(process.stop)
        for link in self.links.values():
            link.close()

    def _name(self, label: str, linked: str | None, federation_port: int) -> str:
        if linked is None:
            return f"localhost:{federation_port}"
        self.links[label] = Link(federation_port)
        return f"{linked}:{self.links[label].port}"

    def _place(self, label: str) -> dict[str, Any]:
        client_port, federation_port = free_ports(2)
        leaf = self.authority.issue(label, names_of(["localhost"]))
        return {
            "client_port": client_port,
            "federation_port": federation_port,
            "ca_file": self.authority.certificate,
            "certificate": leaf.certificate,
            "private_key": leaf.private_key,
        }
