"""The laboratory's world as tests use it: names at once, settings as keywords, requests at the site itself.

Clients and federation go through the memory network; `driver` speaks to a server's client site directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from minihs.federation.signing_keys import SigningKeys
from minihs.lab.memory_network import MemoryHost
from minihs.lab.people import Client as LabClient
from minihs.lab.servers import LabServer
from minihs.lab.world import World as LabWorld
from minihs.server import Policies
from minihs.store.database import Database
from tests.support.http import Connection, HttpDriver, Response, check_response


class World(LabWorld):
    """A clock, a network, and the servers on it. Settings are keywords, with `__` for the dot."""

    def __init__(self, *names: str, seed: int = 1, **settings: Any) -> None:
        super().__init__(
            names, seed=seed, settings=_dotted(settings), latency_ms=0.5, client_latency_ms=0, yields=False
        )

    def add(
        self, name: str, *, database: Database | None = None, keys: SigningKeys | None = None, **settings: Any
    ) -> HomeServer:
        """A server that listens for others at NAME:8448."""
        server = self.add_server(name, settings=_dotted(settings), database=database, keys=keys)
        return cast(HomeServer, server)

    def __getitem__(self, name: str) -> HomeServer:
        return cast(HomeServer, self.server(name))

    def advance(self, ms: float = 0, **durations: float) -> None:
        super().advance(ms=ms, **durations)

    def _make_server(
        self, name: str, host: MemoryHost, settings: Mapping[str, Any], policies: Policies, **details: Any
    ) -> LabServer:
        return HomeServer(self, name, host, settings, policies, **details)

    def _make_client(self, name: str, server: LabServer, host: MemoryHost) -> LabClient:
        return Client(self, name, server, host)


class HomeServer(LabServer):
    """One server of a world; `crash` and `start` keep its database."""

    driver: HttpDriver

    def start(self) -> None:
        super().start()
        self.driver = HttpDriver(self.server.client_site, cast(Any, self.world.clock))

    def user(self, localpart: str) -> Client:
        """A new account, logged in."""
        return cast(Client, self.world.user(localpart, on=self.name))


class Client(LabClient):
    """A user with an access token; every answer is checked for what holds for all of them."""

    server: HomeServer

    async def call(self, method: str, path: str, **details: Any) -> Any:
        response = await super().call(method, path, **details)
        check_response(Response(response.status, response.headers, response.body))
        return response

    def start(self, method: str, path: str, **details: Any) -> Connection:
        """Send a request at the site and do not wait for the reply."""
        return self.server.driver.start(method, path, token=self.token, **details)


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in settings.items()}
