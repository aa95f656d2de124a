"""How commands reach a server as its administrator: over the socket in its data directory.

A running server answers there. When none runs, this process takes the lock and wires the server itself,
without listeners, for as long as the command takes, and asks it over a socket too, so that there is one way.
Another command meanwhile waits for the lock.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from minihs.config import Config
    from minihs.hosting import HostedServer

PATIENCE_S = 10.0
"""For a server that is starting or stopping, or another command on the same directory."""
ANSWER_WITHIN_S = 120.0
"""Deactivating somebody who is in many rooms takes a while."""


class Refused(click.ClickException):
    """The server says no, in a sentence."""


class NoAnswer(click.ClickException):
    """The server was not reached, or ended before it had answered."""


class AdminClient:
    """Requests to the server that answers at `socket_path`; one connection for each."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The reply's JSON. Refused, or NoAnswer when there is no (complete) one."""
        connection = _LocalConnection(self._socket_path)
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body))
            response = connection.getresponse()
            reply = msgspec.json.decode(response.read())
        except http.client.HTTPException as error:
            raise NoAnswer("The server ended in the middle of its answer.") from error
        except OSError as error:
            raise NoAnswer(f"The server did not answer: {error}.") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise Refused(reply["error"])
        return reply


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, socket_path: Path) -> None:
        super().__init__("localhost")
        self._socket_path = socket_path

    def connect(self) -> None:
        from minihs.platform.local_socket import connect_locally

        self.sock = connect_locally(self._socket_path, ANSWER_WITHIN_S)


@contextmanager
def administration(config: Config) -> Iterator[AdminClient]:
    """Reach the server of these settings, whether it runs or not. ClickException when that fails."""
    from minihs.store.data_directory import DataDirectory, DataDirectoryInUse

    directory = DataDirectory(Path(config.server.data_dir))
    gives_up = time.monotonic() + PATIENCE_S
    while True:
        if _answers(directory.admin_socket):
            yield AdminClient(directory.admin_socket)
            return
        try:
            with _server_without_listeners(config, directory.command_socket):
                yield AdminClient(directory.command_socket)
            return
        except DataDirectoryInUse as error:
            if time.monotonic() > gives_up:
                raise click.ClickException(
                    f"The process that owns {directory.path} does not answer commands: {error}"
                ) from error
        time.sleep(0.05)


def _answers(socket_path: Path) -> bool:
    from minihs.platform.local_socket import connect_locally

    try:
        connect_locally(socket_path, ANSWER_WITHIN_S).close()
    except OSError:
        return False
    return True


@contextmanager
def _server_without_listeners(config: Config, socket_path: Path) -> Iterator[None]:
    """The server in this process, its reactor in a thread of its own. Raises DataDirectoryInUse."""
    from twisted.internet import reactor

    from minihs.federation.tls import ClientTls
    from minihs.hosting import UNUSABLE, HostedServer
    from minihs.platform.logs import start_logging
    from minihs.platform.reactor_network import ReactorNetwork
    from minihs.store.data_directory import DataDirectoryInUse

    ca_file = config.federation.ca_file
    network = ReactorNetwork(reactor, client_tls=ClientTls(None if ca_file is None else Path(ca_file)))
    hosted = HostedServer(config, reactor, network)
    try:
        hosted.own()
        start_logging("warn", {}, None)
        turning = _TurningReactor(reactor, hosted, socket_path)
        turning.start()
    except DataDirectoryInUse:
        raise
    except UNUSABLE as error:
        raise click.ClickException(str(error)) from error
    try:
        yield
    finally:
        turning.stop()


class _TurningReactor:
    """The reactor in its thread, and the hosted server on it."""

    def __init__(self, reactor: Any, hosted: HostedServer, socket_path: Path) -> None:
        self._reactor = reactor
        self._socket_path = socket_path
        self._hosted = hosted
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="reactor")

    def start(self) -> None:
        """Return once the server answers; raises what kept it from that."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Return once everything is closed."""
        self._reactor.callFromThread(self._reactor.stop)
        self._thread.join()

    def _run(self) -> None:
        from twisted.internet.defer import Deferred

        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._open()))
        self._reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromCoroutine(self._close())
        )
        self._reactor.run(installSignalHandlers=False)

    async def _open(self) -> None:
        try:
            await self._hosted.open()
            self._hosted.answer_administrators(self._socket_path)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the command's thread reports it
            self._error = error
            self._reactor.stop()
        finally:
            self._ready.set()

    async def _close(self) -> None:
        await self._hosted.answer_no_more()
        await self._hosted.close()
