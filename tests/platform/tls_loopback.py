"""Run as a program: real sockets and real TLS on loopback, in a process with a reactor of its own.

`python -m tests.platform.tls_loopback FOLDER` makes an authority there, listens with a certificate for
`localhost` and `127.0.0.1`, connects in the ways that `SCENARIOS` names; prints what came of each as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from minihs.federation.dev_ca import DevCa
from minihs.federation.tls import ClientTls, ServerTls
from minihs.platform.reactor_network import ReactorNetwork

# name: (address, name to verify, whether our authority is trusted)
SCENARIOS = {
    "a good name": ("127.0.0.1", "localhost", True),
    "a good address": ("127.0.0.1", "127.0.0.1", True),
    "another name": ("127.0.0.1", "example.org", True),
    "another address": ("127.0.0.1", "127.0.0.2", True),
    "an unknown authority": ("127.0.0.1", "localhost", False),
}


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.transport.write(data)


class Asking(Protocol):
    def __init__(self) -> None:
        self.ended: defer.Deferred[str] = defer.Deferred()

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.ended.callback(f"echoed {data.decode()}")
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        if not self.ended.called:
            self.ended.callback(f"refused: {type(reason.value).__name__}")


async def main(folder: Path) -> None:
    files = DevCa(folder / "ours").issue("server", ["localhost", "127.0.0.1"])
    server = ReactorNetwork(reactor, server_tls=ServerTls(files.certificate, files.private_key))
    listening = await server.listen(Factory.forProtocol(Echo), "127.0.0.1", 0, tls=True)
    port = listening.getHost().port
    outcomes = {}
    for name, (address, verify_name, trusted) in SCENARIOS.items():
        authority = DevCa(folder / ("ours" if trusted else "theirs"))
        client = ReactorNetwork(reactor, client_tls=ClientTls(authority.certificate))
        asking = await client.tls_client(address, port, verify_name).connect(Factory.forProtocol(Asking))
        outcomes[name] = await asking.ended
    outcomes["localhost leads to"] = list(await server.resolver.addresses("localhost"))
    await listening.stopListening()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    react(lambda _reactor: defer.Deferred.fromCoroutine(main(Path(sys.argv[1]))))
