"""A server of a world on a real socket: any HTTP client here can talk to it while its time is ours.

Bytes are carried as they are: the server itself says what it thinks of them. Time moves only as far as a
request needs to be answered; one that waits for time to pass (`/sync` with a time-out) waits until somebody
lets it pass.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, cast

from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from minihs.lab.people import Client
from minihs.lab.world import World

PATIENCE_MS = 300.0
"""How far time is moved for one request; what is not answered then waits for others to move it."""
STEP_MS = 5.0
WHOLE_WITHIN_MS = 20.0
"""By then bytes have reached the server; those that are no whole request yet move time no further."""
CHUNK_BYTES = 64 * 1024
FLUSH_S = 1.0


IDLE_MS = 1_000.0
"""A server that closes a connection so long after its last answer has waited in vain for another request."""


class Loopback:
    """One server of a world at `http://127.0.0.1:PORT`, until `close`. `lock` is held by whoever turns the
    world on: hold it, too, while you do."""

    def __init__(self, world: World, server: str, lock: threading.RLock) -> None:
        self._world = world
        self._lock = lock
        self._gateway: Client = world.person(f"loopback-{server}", on=server)
        self._clients: dict[int, _Outside] = {}
        outer = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                outer._serve(_Outside(self.request))

        class Listener(ThreadingTCPServer):
            request_queue_size = 128

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name=f"loopback {server}", daemon=True
        )
        self._thread.start()

    def flush(self) -> None:
        """Until clients have what they were answered, or do not read it."""
        for client in list(self._clients.values()):
            client.flush()

    def close(self) -> None:
        """Listen no more, and end every connection."""
        self._server.shutdown()
        self._thread.join()
        for client in list(self._clients.values()):
            client.end(hear_no_more=True)
        self._server.server_close()

    def _serve(self, client: _Outside) -> None:
        """One connection of a client, in a thread of its own."""
        self._clients[id(client)] = client
        writing = threading.Thread(target=client.write_all, daemon=True)
        writing.start()
        inside: _Inside | None = None
        while data := client.read():
            with self._lock:
                if inside is None or inside.ended:
                    inside = self._connect(client)
                if inside is None:
                    break
                self._carry(inside, data)
        if inside is not None:
            with self._lock:
                inside.close()
        client.end()
        writing.join()
        del self._clients[id(client)]

    def _connect(self, client: _Outside) -> _Inside | None:
        """A connection in the world for one outside; None when nobody answers there."""
        world = self._world
        factory = Factory.forProtocol(lambda: _Inside(client, lambda: world.now_ms))
        factory.noisy = False
        endpoint: Any = self._gateway.host.tcp_client(*self._gateway.server.client_at)

        async def connect() -> _Inside:
            return cast(_Inside, await endpoint.connect(factory))

        try:
            return world.run(connect(), "a connection", within_ms=PATIENCE_MS)
        except Exception:  # noqa: BLE001 - the server is down, or the way to it: nobody answers
            return None

    def _carry(self, inside: _Inside, data: bytes) -> None:
        world = self._world
        begun, began_ms = world.wire.count, world.now_ms
        inside.send(data)
        while not inside.ended and world.now_ms - began_ms < PATIENCE_MS:
            world.advance(ms=STEP_MS)
            if inside.answered and not inside.coming:
                return
            if world.wire.count == begun and world.now_ms - began_ms >= WHOLE_WITHIN_MS:
                return


class _Inside(Protocol):
    """A client's connection in the world. One that the server closes because nothing was asked for a while is
    not missed outside: the next request has another. Time jumps there, and a client cannot know."""

    def __init__(self, client: _Outside, now_ms: Callable[[], float]) -> None:
        self.answered = False
        """Whether anything came since something was sent."""
        self.ended = False
        self._client = client
        self._now_ms = now_ms
        self._heard_ms = 0.0

    def send(self, data: bytes) -> None:
        """Bytes of the client's set out."""
        self.answered = False
        cast(Any, self.transport).write(data)

    def close(self) -> None:
        """The client is gone."""
        self.ended = True
        cast(Any, self.transport).loseConnection()

    @property
    def coming(self) -> int:
        """Bytes that the server has written and that have not arrived."""
        return int(cast(Any, self.transport).other.undelivered)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.answered, self._heard_ms = True, self._now_ms()
        self._client.write(data)

    def connectionLost(self, reason: Failure = cast(Failure, None)) -> None:  # noqa: N802, ARG002, B008
        self.ended = True
        if not self.answered or self._now_ms() - self._heard_ms < IDLE_MS:
            self._client.end()


class _Outside:
    """A client's socket. What it gets is written by a thread of its own: clients read when they like."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting: deque[bytes] = deque()
        self._ended = False
        self._writing = True
        self._changed = threading.Condition()

    def read(self) -> bytes:
        """What the client sends next; nothing at the end."""
        try:
            return self._connection.recv(CHUNK_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Have the client get these bytes."""
        with self._changed:
            self._waiting.append(data)
            self._changed.notify_all()

    def end(self, *, hear_no_more: bool = False) -> None:
        """Close the connection once everything was written; at once, for one who need not hear the rest."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if hear_no_more:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def flush(self) -> None:
        """Until everything was written, but for a client that does not read."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing, FLUSH_S)

    def write_all(self) -> None:
        """Write what there is to write, until the end."""
        with suppress(OSError):
            while data := self._next():
                self._connection.sendall(data)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._writing = False
            self._waiting.clear()
            self._changed.notify_all()

    def _next(self) -> bytes:
        """What is to be written next; nothing at the end."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._writing = True  # also while the end is told
            return self._waiting.popleft() if self._waiting else b""
