"""The servers that are measured: minihs, Synapse, bare Twisted; each a process of its own, on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from minihs.demo.client import Client
from minihs.federation.dev_ca import DevCa
from minihs.processes import ServerProcess, free_ports
from tests.bench.load import Connection
from tests.support.synapse import PYTHON as SYNAPSE_PYTHON
from tests.support.synapse import SynapseProcess

NEWCOMER = {"presence": {"enabled": True}}
"""Synapse as whoever tries it has it: presence on, its own log configuration (see `_newcomers_log`), and
otherwise what `tests.support.synapse` sets: SQLite, one process, no rate limits, twice the default caches, no
URL previews, no key servers. minihs runs with its defaults, without rate limits, and logs what it logs."""

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

    def pause(self) -> None:
        """Stop the process where it stands: what is sent to it waits in its sockets."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

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
        self.crashed: list[str] = []

    def what_crashed(self) -> str | None:
        """Which servers ended of themselves, with the end of their logs; None when none did."""
        return "\n".join(self.crashed) or None

    @contextmanager
    def _on(self, label: str, server: Any) -> Iterator[Measured]:
        """The server from here to the end, where it is stopped, or found to have ended of itself."""
        server.start()
        measured = Measured(label, server)
        try:
            yield measured
        finally:
            process = server.process
            if process.poll() not in (None, 0, -signal.SIGTERM):
                log = Path(server.log_file).read_text(errors="replace").splitlines()[-20:]
                self.crashed.append(
                    f"{label} ended of itself with exit code {process.returncode}; its log ends:\n"
                    + "\n".join(log)
                )
            measured.resume()
            server.stop()

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
        with self._on(f"minihs{self.count}", server) as measured:
            yield measured

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
            extra={**NEWCOMER, "log_config": str(self._newcomers_log(f"synapse{self.count}"))},
        )
        with self._on(f"Synapse {self.count}", server) as measured:
            yield measured

    def _newcomers_log(self, label: str) -> Path:
        """The log configuration that Synapse writes for a new server."""
        folder = self.folder / label / "generated"
        folder.mkdir(parents=True)
        command = [SYNAPSE_PYTHON, "-m", "synapse.app.homeserver", "--generate-config"]
        command += ["--server-name", "localhost", "--config-path", "homeserver.yaml", "--report-stats=no"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return folder / "localhost.log.config"

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
