"""A server as a process: data directory, database, logs, listeners, signals; and an end with a reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from minihs.config import Config
from minihs.federation.signing_keys import SigningKeysUnusable, load_or_create
from minihs.federation.tls import ClientTls, ServerTls, TlsUnusable
from minihs.platform.clock import ReactorClock
from minihs.platform.entropy import SystemEntropy
from minihs.platform.logs import start_logging
from minihs.platform.reactor_network import ReactorNetwork
from minihs.platform.workers import ThreadWorkers
from minihs.server import CannotStart, Platform, Server, wire
from minihs.store.data_directory import DataDirectory, DataDirectoryUnusable
from minihs.store.database import Database, DatabaseUnusable, open_database

log = Logger()

WORKER_THREADS = 2
"""For password hashes and long scans; the interpreter lock makes more of them useless."""

EXIT_CANNOT_START = 1
EXIT_DATABASE_FAILED = 70


def run_server(config: Config, reactor: Any) -> int:
    """Serve until a signal; returns the process's exit code."""
    clock = ReactorClock(reactor)
    directory = DataDirectory(Path(config.server.data_dir))
    try:
        directory.create()
        directory.lock()
        start_logging(
            config.logging.level,
            config.logging.levels,
            None if config.logging.file is None else Path(config.logging.file),
        )
        database = open_database(directory.database, synchronous=config.database.synchronous)
        network = _network(config, reactor)
    except (DataDirectoryUnusable, DatabaseUnusable, TlsUnusable, CannotStart, OSError) as error:
        print(f"minihs: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CANNOT_START
    process = _Process(config, reactor, clock, directory, database, network)
    reactor.callWhenRunning(process.start)
    reactor.addSystemEventTrigger("before", "shutdown", process.stop)
    reactor.run()
    return process.exit_code


def _network(config: Config, reactor: Any) -> ReactorNetwork:
    server = config.server
    if server.tls_certificate is None or server.tls_private_key is None:
        raise CannotStart(
            "The federation listener needs a certificate: give --tls-certificate and --tls-private-key "
            "(`minihs keys dev-certificate` makes a throwaway one)."
        )
    ca_file = config.federation.ca_file
    client_tls = ClientTls(None if ca_file is None else Path(ca_file))
    client_tls.check()
    return ReactorNetwork(
        reactor,
        client_tls=client_tls,
        server_tls=ServerTls(Path(server.tls_certificate), Path(server.tls_private_key)),
    )


class _Process:
    """Holds what must be closed, and how the process is to end."""

    def __init__(
        self,
        config: Config,
        reactor: Any,
        clock: ReactorClock,
        directory: DataDirectory,
        database: Database,
        network: ReactorNetwork,
    ) -> None:
        self.exit_code = 0
        self._config = config
        self._reactor = reactor
        self._directory = directory
        self._database = database
        self._commits = ThreadWorkers(reactor, 1, "commit")
        self._workers = ThreadWorkers(reactor, WORKER_THREADS, "work")
        self._server: Server | None = None
        self._platform = Platform(
            clock=clock,
            entropy=SystemEntropy(),
            commit_worker=self._commits,
            workers=self._workers,
            network=network,
        )

    def start(self) -> None:
        """Build and start the server; called once the reactor runs."""
        Deferred.fromCoroutine(self._start()).addErrback(self._cannot_start)

    def stop(self) -> Deferred[None]:
        """Finish what is under way and close everything; called on SIGTERM and SIGINT."""
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        keys = load_or_create(self._directory.path, self._config.server_name, self._platform.entropy)
        parts = await wire(self._config, self._platform, self._database, keys, on_fatal=self._fatal)
        self._server = Server(parts, self._platform.network)
        addresses = await self._server.start()
        print(  # noqa: T201
            f"minihs: {self._config.server_name} is ready: clients at {addresses.client}, "
            f"other servers at {addresses.federation}",
            flush=True,
        )

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        self._commits.stop()
        self._workers.stop()
        self._database.close()
        self._directory.unlock()

    def _cannot_start(self, failure: Failure) -> None:
        if isinstance(failure.value, (CannotStart, SigningKeysUnusable, OSError)):
            print(f"minihs: {failure.getErrorMessage()}", file=sys.stderr)  # noqa: T201
        else:
            log.failure("the server did not start", failure)
        self.exit_code = EXIT_CANNOT_START
        self._reactor.stop()

    def _fatal(self, sentence: str) -> None:
        # Nothing that has not been acknowledged may be shown or sent any more: no clean shutdown.
        print(f"minihs: {sentence} The server ends; nothing that was acknowledged is lost.", file=sys.stderr)  # noqa: T201
        sys.stderr.flush()
        os._exit(EXIT_DATABASE_FAILED)
