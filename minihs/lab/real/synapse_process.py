"""A real Synapse as a process of its own: SQLite, one process, TLS from the development CA, on loopback.

It must be installed, from PyPI, in an environment of its own, whose interpreter is named; nothing of it is
imported here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from minihs.processes import ServerDidNotStart

READY_WITHIN_S = 60.0


@dataclass(kw_only=True)
class SynapseProcess:
    """One Synapse; its server name is `localhost:<federation port>` unless it is given another."""

    folder: Path
    client_port: int
    federation_port: int
    ca_file: Path
    certificate: Path
    private_key: Path
    python: Path
    """The interpreter of the environment that has Synapse."""
    server_name: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.server_name = self.server_name or f"localhost:{self.federation_port}"

    @property
    def client_url(self) -> str:
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def log_file(self) -> Path:
        return self.folder / "synapse.log"

    def start(self) -> float:
        """Start it; the seconds until it answers. ServerDidNotStart."""
        config = self.folder / "homeserver.yaml"
        if not config.exists():
            self._configure(config)
        started = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "synapse.app.homeserver", "--config-path", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "SYNAPSE_CACHE_FACTOR": "1"},
            )
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - started > READY_WITHIN_S:
                tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
                raise ServerDidNotStart(f"Synapse did not start:\n{tail}")
            time.sleep(0.02)
        return time.monotonic() - started

    def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and insist if it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _configure(self, config: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        never = {"per_second": 1e9, "burst_count": 10**9}
        settings: dict[str, Any] = {
            "server_name": self.server_name,
            "pid_file": str(self.folder / "synapse.pid"),
            "listeners": [
                {
                    "port": self.client_port,
                    "bind_addresses": ["127.0.0.1"],
                    "type": "http",
                    "resources": [{"names": ["client"]}],
                },
                {
                    "port": self.federation_port,
                    "bind_addresses": ["127.0.0.1"],
                    "type": "http",
                    "tls": True,
                    "resources": [{"names": ["federation", "keys"]}],
                },
            ],
            "tls_certificate_path": str(self.certificate),
            "tls_private_key_path": str(self.private_key),
            "federation_custom_ca_list": [str(self.ca_file)],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "synapse.db")}},
            "signing_key_path": str(self.folder / "signing.key"),
            "media_store_path": str(self.folder / "media"),
            "log_config": str(self._log_config()),
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "allow_guest_access": True,
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"user_id": "*", "action": "allow"}],
            "macaroon_secret_key": "only for laboratories",
            "registration_shared_secret": "only for laboratories",
            "form_secret": "only for laboratories",
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "url_preview_enabled": False,
            "max_event_delay_duration": "24h",
            "presence": {"enabled": False},
            "federation": {
                "destination_min_retry_interval": "1s",
                "destination_max_retry_interval": "2s",
                "destination_retry_multiplier": 2,
            },
            "rc_message": never,
            "rc_registration": never,
            "rc_delayed_event_mgmt": never,
            "rc_login": {"address": never, "account": never, "failed_attempts": never},
            "rc_joins": {"local": never, "remote": never},
            "rc_joins_per_room": never,
            "rc_invites": {"per_room": never, "per_user": never, "per_issuer": never},
            "rc_room_creation": never,
            "rc_federation": {
                "window_size": 1,
                "sleep_limit": 10**6,
                "reject_limit": 10**6,
                "concurrent": 10**3,
            },
            "experimental_features": {
                "msc4140_enabled": True,
                "msc4140_max_delayed_events_per_user": 1_000_000,
            },
            **self.extra,
        }
        config.write_bytes(msgspec.json.encode(settings))  # JSON is YAML
        made = subprocess.run(
            [
                self.python,
                "-m",
                "synapse.app.homeserver",
                "--config-path",
                config,
                "--generate-keys",
            ],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if made.returncode != 0:
            said = "\n".join(made.stdout.decode(errors="replace").splitlines()[-5:])
            raise ServerDidNotStart(
                f"{self.python} cannot run a Synapse. Has its environment matrix-synapse? It said:\n{said}"
            )

    def _log_config(self) -> Path:
        file = self.folder / "log.yaml"
        file.write_bytes(
            msgspec.json.encode(
                {
                    "version": 1,
                    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
                    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain"}},
                    "root": {"level": "WARNING", "handlers": ["out"]},
                    "disable_existing_loggers": False,
                }
            )
        )
        return file

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.client_url}/_matrix/client/versions", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False
