"""A process that owns a data directory: its lock, database, keys, threads, wired server and admin socket.

`serve` adds listeners and signals; an administrator's command that finds no server running needs no more.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn, Protocol

from twisted.internet.error import CannotListenError

from minihs.config import Config
from minihs.federation.signing_keys import KEY_FILE, SigningKeysUnusable, load_or_create
from minihs.federation.tls import TlsUnusable
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.platform.clock import ReactorClock
from minihs.platform.entropy import SystemEntropy
from minihs.platform.local_socket import LocalPort
from minihs.platform.logs import Logger, LogsUnusable
from minihs.platform.network import Network
from minihs.platform.workers import ThreadWorkers
from minihs.server import CannotStart, Parts, Platform, Policies, admin_routes, wire
from minihs.store.data_directory import DataDirectory, DataDirectoryUnusable
from minihs.store.database import Database, DatabaseUnusable, explained, open_database

log = Logger()

WORKER_THREADS = 2
"""For password hashes and long scans; the interpreter lock makes more of them useless."""
PRIVATE = 0o077
"""What no file of ours grants to anybody but its owner: keys, messages and tokens' hashes are among them."""

EXIT_DATABASE_FAILED = 70

UNUSABLE = (
    CannotStart,
    DataDirectoryUnusable,
    DatabaseUnusable,
    LogsUnusable,
    SigningKeysUnusable,
    TlsUnusable,
    OSError,
)
"""Why a server cannot be: each says in one sentence what is wrong, and what to do."""


class Bench(Protocol):
    """What a laboratory puts a server's process on (`minihs.lab.live`): other seams, and a listener."""

    def platform(self, platform: Platform) -> Platform: ...

    def policies(self) -> Policies: ...

    async def start(self, parts: Parts, network: Network) -> str: ...

    async def stop(self) -> None: ...


class HostedServer:
    """The server of one data directory, in this process. Nothing happens before `open`."""

    def __init__(self, config: Config, reactor: Any, network: Network, *, bench: Bench | None = None) -> None:
        self.network = network
        """What the server's listeners are to use, once it is open."""
        self._config = config
        self._reactor = reactor
        self._bench = bench
        self._directory = DataDirectory(Path(config.server.data_dir))
        self._threads: list[ThreadWorkers] = []
        self._database: Database | None = None
        self._parts: Parts | None = None
        self._admin_port: LocalPort | None = None
        self._admin_site: ApiFactory | None = None

    def own(self) -> None:
        """Lock the data directory, made if need be. DataDirectoryUnusable."""
        os.umask(PRIVATE)
        self._directory.create()
        self._directory.lock()

    async def open(self) -> Parts:
        """Open what the directory holds, made if need be, and wire the server over it.

        Raises one of UNUSABLE; `close` in any case.
        """
        config = self._config
        platform = Platform(
            clock=ReactorClock(self._reactor),
            entropy=SystemEntropy(),
            commit_worker=self._pool(1, "commit"),
            workers=self._pool(WORKER_THREADS, "work"),
            network=self.network,
        )
        policies = None
        if self._bench is not None:
            platform, policies = self._bench.platform(platform), self._bench.policies()
            self.network = platform.network
        path = self._directory.database
        self._database = open_database(path, synchronous=config.database.synchronous)
        with explained(path):  # damage that opening the file does not come across
            claimed_before = self._database.server_name() is not None
            self._database.claim(config.server_name)
            if claimed_before and not (self._directory.path / KEY_FILE).exists():
                log.warn(
                    "the signing key is missing from {folder}: a new one is made", folder=self._directory.path
                )
            keys = load_or_create(self._directory.path, config.server_name, platform.entropy)
            self._parts = await wire(
                config, platform, self._database, keys, on_fatal=end_at_once, policies=policies
            )
        return self._parts

    def answer_administrators(self, socket_path: Path | None = None) -> None:
        """Listen on a socket in the data directory, that of a running server unless another is named.

        Raises one of CANNOT_LISTEN.
        """
        if self._parts is None:
            raise RuntimeError("a server answers once it is open")
        self._admin_site = ApiFactory(
            Router(admin_routes(self._parts)),
            clock=self._parts.clock,
            limiter=self._parts.limiter,
            local=True,
        )
        self._admin_port = LocalPort(
            self._reactor, self._admin_site, socket_path or self._directory.admin_socket
        )

    async def answer_no_more(self) -> None:
        """Finish the commands that are under way and take no more."""
        if self._admin_port is not None and self._admin_site is not None:
            await self._admin_port.stop()
            await self._admin_site.stop()

    async def close(self) -> None:
        """Write what was submitted and give everything up."""
        if self._parts is not None:
            await self._parts.federation.client.close()
            await self._parts.writer.stop()
        for threads in self._threads:
            threads.stop()
        if self._database is not None:
            self._database.close()
        self._directory.unlock()

    def _pool(self, threads: int, name: str) -> ThreadWorkers:
        pool = ThreadWorkers(self._reactor, threads, name)
        self._threads.append(pool)
        return pool


CANNOT_LISTEN = (OSError, CannotListenError)


def complain(sentence: object) -> None:
    """Tell the person who started the program, whatever becomes of the logs."""
    print(f"minihs: {sentence}", file=sys.stderr, flush=True)  # noqa: T201


def end_at_once(sentence: str) -> NoReturn:
    """The database has failed: nothing that was not acknowledged may be shown or sent any more, so the end is
    not a clean one."""
    complain(f"{sentence} The server ends; nothing that was acknowledged is lost.")
    os._exit(EXIT_DATABASE_FAILED)
