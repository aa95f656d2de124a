"""A hostile server with a real listener: it signs as it likes, and answers as each test tells it to.

Beside `hostile_peer`, which lies within one process: this one is for what only sockets show, floods and
answers that never end.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from signedjson.key import encode_verify_key_base64, get_verify_key

from minihs.events import canonical
from minihs.events.ids import ServerName
from minihs.events.signatures import Signer
from minihs.federation.request_signing import sign_request
from minihs.processes import ServerProcess
from tests.support.events import signer_of

Handle = Callable[[BaseHTTPRequestHandler], None]


class HostileListener:
    """A server at `localhost:port`, with a key of its own; `ways` says how paths are answered."""

    def __init__(self, port: int, certificate: Path, private_key: Path, authority: Path) -> None:
        self.name = ServerName(f"localhost:{port}")
        self.signer: Signer = signer_of(self.name)
        self.ways: dict[str, Handle] = {}
        self.asked: list[str] = []
        self._connections: list[http.client.HTTPSConnection] = []
        self._trusting = ssl.create_default_context(cafile=str(authority))
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, ssl.SSLError, TimeoutError):
                    self.close_connection = True

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                peer.asked.append(self.path)
                for part, handle in peer.ways.items():
                    if part in self.path:
                        return handle(self)
                if self.path.startswith("/_matrix/key/v2/server"):
                    return reply(self, peer.key_document())
                return reply(self, {"errcode": "M_NOT_FOUND", "error": "no"}, 404)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Tests say what they want to know."""

        self._listener = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._listener.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private_key)
        self._listener.socket = context.wrap_socket(
            self._listener.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        for connection in self._connections:
            connection.close()

    def key_document(self) -> dict[str, Any]:
        key = encode_verify_key_base64(get_verify_key(self.signer.key))
        return self.signer.sign(
            {
                "server_name": self.name,
                "valid_until_ts": int(time.time() * 1000) + 86_400_000,
                "verify_keys": {self.signer.key_id: {"key": key}},
                "old_verify_keys": {},
            }
        )

    def connection(self, server: ServerProcess, timeout_s: float = 30.0) -> http.client.HTTPSConnection:
        made = http.client.HTTPSConnection(
            "localhost", server.federation_port, context=self._trusting, timeout=timeout_s
        )
        self._connections.append(made)
        return made

    def authorization(self, server: ServerProcess, method: str, path: str, body: bytes | None) -> str:
        """The header that makes a request this server's own."""
        return sign_request(
            self.signer, method=method, uri=path, destination=server.server_name, content=body
        )

    def ask(
        self,
        server: ServerProcess,
        method: str,
        path: str,
        body: Any = None,
        *,
        connection: http.client.HTTPSConnection | None = None,
        authorization: str | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON of the answer to a request, signed unless `authorization` says otherwise."""
        content = None if body is None else canonical.encode(body)
        header = self.authorization(server, method, path, content) if authorization is None else authorization
        using = self.connection(server) if connection is None else connection
        headers = {"Content-Type": "application/json", **({"Authorization": header} if header else {})}
        using.request(method, path, content, headers)
        response = using.getresponse()
        answer = json.loads(response.read())
        if connection is None:
            using.close()
        return response.status, answer


def reply(handler: BaseHTTPRequestHandler, body: Any, status: int = 200) -> None:
    """An honest answer."""
    content = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def endless(start: bytes, more: bytes) -> Handle:
    """An answer that goes on until the other side has had enough."""

    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in (start, *(more for _ in range(1_000_000))):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    return handle


def silent(handler: BaseHTTPRequestHandler) -> None:
    """No answer, for as long as the other side waits."""
    handler.connection.settimeout(60)
    handler.rfile.read(1)
