"""A server of a world on a real socket: any HTTP client here can talk to it while its time is ours.

Requests are carried into the world one after another. Time moves only as far as a request needs to be
answered; one that waits for time to pass (`/sync` with a time-out) waits until somebody lets it pass.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.internet.defer import Deferred

from minihs.lab.http_client import HttpClient, Response
from minihs.lab.people import Client
from minihs.lab.world import World

PATIENCE_MS = 300.0
"""How far time is moved for one request; what is not answered then waits for others to move it."""
LOOK_AGAIN_S = 0.02
LONGEST_WAIT_S = 60.0


class Loopback:
    """One server of a world at `http://127.0.0.1:PORT`, until `close`. `lock` is held by whoever turns the
    world on: hold it, too, while you do."""

    def __init__(self, world: World, server: str, lock: threading.RLock) -> None:
        self._world = world
        self._lock = lock
        self._gateway: Client = world.person(f"loopback-{server}", on=server)
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _carry(self) -> None:
                outer._carry(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_HEAD = _carry  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """The world's transcript has the requests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name=f"loopback {server}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _carry(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        headers = {
            name: value
            for name, value in handler.headers.items()
            if name.lower() not in ("host", "connection", "content-length", "accept-encoding")
        }
        response = self._answer(handler.command, handler.path, body or None, headers)
        if response is None:
            handler.send_error(504, "the world did not answer")
            return
        handler.send_response(response.status)
        for name, value in response.headers.items():
            if name != "connection":
                handler.send_header(name.title(), value)
        handler.end_headers()
        handler.wfile.write(response.body)

    def _answer(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Response | None:
        answers: list[Response] = []
        with self._lock:
            world = self._world
            # A connection of its own: one that waits must not hold up others.
            client = HttpClient(self._gateway.host, world.clock, *self._gateway.server.client_at)
            asking = Deferred.fromCoroutine(
                client.request(method, path, body=body, headers=headers, patience_ms=1e12)
            )
            asking.addCallbacks(answers.append, lambda _: None)
            deadline_ms = world.now_ms + PATIENCE_MS
            while not answers and world.now_ms < deadline_ms:
                world.advance(ms=5)
        waited_s = 0.0
        while not answers and waited_s < LONGEST_WAIT_S and not self._closing.wait(LOOK_AGAIN_S):
            waited_s += LOOK_AGAIN_S
        return answers[0] if answers else None
