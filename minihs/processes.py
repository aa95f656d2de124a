"""Server processes of demonstrations and laboratories: started, killed, started again; on loopback only."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from minihs.events.ids import ServerName

READY_WITHIN_S = 20.0
STOP_WITHIN_S = 15.0


class ServerDidNotStart(Exception):
    """The process ended or said nothing; the message has the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass(kw_only=True)
class ServerProcess:
    """One homeserver as a process of its own. `label` is what the story calls it."""

    label: str
    folder: Path
    client_port: int
    federation_port: int
    ca_file: Path
    certificate: Path
    private_key: Path
    settings: Iterable[str] = ()
    flags: Iterable[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def server_name(self) -> ServerName:
        return ServerName(f"localhost:{self.federation_port}")

    @property
    def client_url(self) -> str:
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / self.label

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.label}.log"

    def start(self) -> float:
        """Start the process; returns the seconds until it answered the first request. One that does not get
        ready is ended: ServerDidNotStart."""
        started = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while True:
            if self._answers():
                return time.monotonic() - started
            if self.process.poll() is not None or time.monotonic() - started > READY_WITHIN_S:
                self.kill()
                raise ServerDidNotStart(f"{self.label} did not start:\n{self._log_tail()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """`kill -9`: the process gets no chance to do anything."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Ask the process to end, and insist if it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def command(self) -> list[str]:
        """What starts it, as a list of arguments."""
        options = {
            "--server-name": self.server_name,
            "--data-dir": self.data_dir,
            "--client-listen": f"127.0.0.1:{self.client_port}",
            "--federation-listen": f"127.0.0.1:{self.federation_port}",
            "--tls-certificate": self.certificate,
            "--tls-private-key": self.private_key,
            "--federation-ca-file": self.ca_file,
        }
        command = [sys.executable, "-m", "minihs", "serve"]
        for name, value in options.items():
            command += [name, str(value)]
        command += ["--open-registration", "--allow-private-addresses", "--no-rate-limits"]
        for setting in self.settings:
            command += ["--set", setting]
        return [*command, *self.flags]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.client_url}/_matrix/client/versions", timeout=2) as reply:  # noqa: S310
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _log_tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
