"""`minihs serve`: the server with its listeners, in the foreground, until a signal."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from minihs.config import Config
from minihs.federation.tls import ClientTls, ServerTls, TlsUnusable
from minihs.hosting import CANNOT_LISTEN, UNUSABLE, Bench, HostedServer, complain
from minihs.platform.logs import Logger, start_logging
from minihs.platform.reactor_network import ReactorNetwork
from minihs.server import CannotStart, Server

log = Logger()

EXIT_CANNOT_START = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT


MakeBench = Callable[[Config, Any], Bench]


def run_server(config: Config, reactor: Any, make_bench: MakeBench | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the process's exit code. A laboratory makes a bench for it."""
    try:
        bench = None if make_bench is None else make_bench(config, reactor)
        tls = _server_tls(config)
        process = _Process(config, reactor, tls, _network(config, reactor, tls), bench)
        process.hosted.own()
        start_logging(
            config.logging.level,
            config.logging.levels,
            None if config.logging.file is None else Path(config.logging.file),
        )
    except UNUSABLE as error:
        complain(error)
        return EXIT_CANNOT_START
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, process.on_signal)
    reactor.callWhenRunning(process.start)
    reactor.addSystemEventTrigger("before", "shutdown", process.stop)
    reactor.run(installSignalHandlers=False)
    return process.exit_code


def _server_tls(config: Config) -> ServerTls:
    certificate, private_key = config.server.tls_certificate, config.server.tls_private_key
    if certificate is None or private_key is None:
        raise CannotStart(
            "The federation listener needs a certificate: give --tls-certificate and --tls-private-key "
            "(`minihs keys dev-certificate` makes a throwaway one)."
        )
    return ServerTls(Path(certificate), Path(private_key))


def _network(config: Config, reactor: Any, server_tls: ServerTls) -> ReactorNetwork:
    ca_file = config.federation.ca_file
    client_tls = ClientTls(None if ca_file is None else Path(ca_file))
    client_tls.check()
    return ReactorNetwork(reactor, client_tls=client_tls, server_tls=server_tls)


class _Process:
    """From the first turn of the reactor to the last, and how the process is to end."""

    def __init__(
        self, config: Config, reactor: Any, tls: ServerTls, network: ReactorNetwork, bench: Bench | None
    ) -> None:
        self.exit_code = 0
        self.hosted = HostedServer(config, reactor, network, bench=bench)
        self._bench = bench
        self._config = config
        self._reactor = reactor
        self._tls = tls
        self._server: Server | None = None
        self._told_to_stop = False

    def start(self) -> None:
        """Build and start the server; called once the reactor runs."""
        Deferred.fromCoroutine(self._start()).addErrback(self._cannot_start)

    def stop(self) -> Deferred[None]:
        """Finish what is under way and close everything; called when the reactor is to stop."""
        return Deferred.fromCoroutine(self._stop())

    def on_signal(self, number: int, _frame: object) -> None:
        """Stop cleanly; Ctrl-C once more ends the process at once, which loses nothing either.

        SIGHUP does not stop it: the certificate has been renewed.
        """
        if number == signal.SIGHUP:
            self._reactor.callFromThread(self._reload_certificate)
            return
        if self._told_to_stop:
            if number == signal.SIGINT:
                os._exit(EXIT_INTERRUPTED)
            return
        self._told_to_stop = True
        log.info("stopping on {signal}", signal=signal.Signals(number).name)
        self._reactor.callFromThread(self._stop_reactor)

    async def _start(self) -> None:
        parts = await self.hosted.open()
        self._server = Server(parts, self.hosted.network)
        # What is there now stays to the end: no later collection looks at it again.
        gc.collect()
        gc.freeze()
        gc.enable()
        # Before clients are answered: they take that for "ready".
        laboratory = None if self._bench is None else await self._bench.start(parts, self.hosted.network)
        addresses = await self._server.start()
        try:
            self.hosted.answer_administrators()
        except CANNOT_LISTEN as error:
            log.warn("administrators' commands cannot reach this server: {error}", error=error)
        where = f"clients at {addresses.client}, other servers at {addresses.federation}"
        if addresses.metrics is not None:
            where += f", metrics at {addresses.metrics}"
        if laboratory is not None:
            where += f", {laboratory}"
        print(f"minihs: {self._config.server_name} is ready: {where}", flush=True)  # noqa: T201

    async def _stop(self) -> None:
        await self.hosted.answer_no_more()
        if self._bench is not None:
            await self._bench.stop()
        try:
            if self._server is not None:
                await self._server.stop()
        finally:
            await self.hosted.close()

    def _cannot_start(self, failure: Failure) -> None:
        if isinstance(failure.value, UNUSABLE):
            complain(failure.value)
        else:
            log.failure("the server did not start", failure)
        self.exit_code = EXIT_CANNOT_START
        self._stop_reactor()

    def _reload_certificate(self) -> None:
        try:
            self._tls.reload()
        except TlsUnusable as error:
            log.error("the certificate stays as it was: {error}", error=error)
        else:
            log.info("the certificate was read again")

    def _stop_reactor(self) -> None:
        # A signal may come while a failed start is ending the process, or the other way round.
        with suppress(ReactorNotRunning):
            self._reactor.stop()
