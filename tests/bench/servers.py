"""The servers that are measured: minihs, Synapse, bare Twisted; each a process of its own, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from minihs.demo.client import Client
from minihs.demo.processes import ServerProcess, free_ports
from minihs.federation.dev_ca import DevCa
from tests.bench.load import Connection
from tests.support.synapse import SynapseProcess

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SETTINGS = (
    "futures.max_scheduled=1000000",
    "futures.retention_count=1000000",
    "federation.retry_initial_ms=200",
)


class Process(Protocol):
    """What a measured server is to the benchmarks."""

    process: subprocess.Popen[bytes] | None
    client_port: int

    @property
    def server_name(self) -> str: ...
    def start(self) -> float: ...
    def stop(self) -> None: ...


@dataclass
class Measured:
    """A running server with a name for the table."""

    label: str
    server: Any
    users: dict[str, Client] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        assert self.server.process is not None
        return int(self.server.process.pid)

    def cpu_s(self) -> float:
        """Processor time that the process has used, all threads, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def resident_mb(self) -> float:
        """Resident memory in megabytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise LookupError("no VmRSS")

    def user(self, name: str) -> Client:
        """An account, made when it is first asked for."""
        if name not in self.users:
            client = Client("127.0.0.1", self.server.client_port)
            client.register(name, "correct horse battery staple")
            self.users[name] = client
        return self.users[name]

    def room(self, user: str = "alice", **body: Any) -> str:
        reply = self.user(user).request(
            "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat", **body}
        )
        return str(reply["room_id"])

    def connections(self, user: str, count: int) -> list[Connection]:
        token = self.user(user).token
        return [Connection("127.0.0.1", self.server.client_port, token) for _ in range(count)]


class Stage:
    """Makes servers in a folder, with certificates from one throwaway CA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = DevCa(folder / "ca")
        self.count = 0

    @contextmanager
    def minihs(self, *settings: str) -> Iterator[Measured]:
        self.count += 1
        ports = free_ports(2)
        leaf = self.authority.issue(f"leaf{self.count}", ["localhost", "127.0.0.1"])
        server = ServerProcess(
            label=f"minihs{self.count}",
            folder=self.folder,
            client_port=ports[0],
            federation_port=ports[1],
            ca_file=self.authority.certificate,
            certificate=leaf.certificate,
            private_key=leaf.private_key,
            settings=(*SETTINGS, *settings),
        )
        server.start()
        try:
            yield Measured("minihs", server)
        finally:
            server.stop()

    @contextmanager
    def synapse(self) -> Iterator[Measured]:
        self.count += 1
        ports = free_ports(2)
        leaf = self.authority.issue(f"leaf{self.count}", ["localhost", "127.0.0.1"])
        server = SynapseProcess(
            folder=self.folder / f"synapse{self.count}",
            client_port=ports[0],
            federation_port=ports[1],
            ca_file=self.authority.certificate,
            certificate=leaf.certificate,
            private_key=leaf.private_key,
        )
        server.start()
        try:
            yield Measured("Synapse", server)
        finally:
            server.stop()

    @contextmanager
    def bare_twisted(self) -> Iterator[int]:
        """A resource that answers every request with a small JSON object; yields its port."""
        [port] = free_ports(1)
        process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare_twisted", str(port)])
        try:
            time.sleep(1.0)
            yield port
        finally:
            process.terminate()
            process.wait()
