"""The server under suspicion: hs1, in a world with hs2, and everything that it logs as a failure.

Requests go to hs1's two listeners byte by byte; those of the Server-Server API are signed by hs2.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import globalLogPublisher

from minihs.events import canonical
from minihs.events.ids import ServerName
from minihs.federation.request_signing import sign_request
from minihs.http.routing import Match, Route, Router
from minihs.server.routes import client_routes, federation_routes
from tests.support.http import HttpDriver, Response
from tests.support.world import World

from .endpoints import Endpoint
from .hostile import Request

UNAVAILABLE = (502, 503, 504)
"""Another server could not be asked: nobody's fault here."""


def is_of_neighbours(path: str) -> bool:
    """Whether a path belongs on the listener for other servers."""
    return path.startswith(("/_matrix/federation", "/_matrix/key", "/_matrix/policy"))


class Suspect:
    """hs1, asked and watched."""

    def __init__(self) -> None:
        self.world = World(
            "hs1",
            "hs2",
            server__public_base_url="https://client.test",
            server__delegated_server="hs.test:443",
        )
        hs1 = self.world["hs1"].server
        self.clients = HttpDriver(hs1.client_site, self.world.clock)
        self.neighbours = HttpDriver(hs1.federation_site, self.world.clock)
        self.client_router = Router(client_routes(hs1.parts))
        self.federation_router = Router(federation_routes(hs1.parts))
        self.failures: list[str] = []
        globalLogPublisher.addObserver(self._observe)

    def close(self) -> None:
        """Stop both servers; whatever they report on the way counts too."""
        self.world.stop()
        globalLogPublisher.removeObserver(self._observe)
        assert not self.failures
        assert not self.world["hs1"].fatal

    def _observe(self, event: dict[str, Any]) -> None:
        if "log_failure" in event:
            self.failures.append(event["log_failure"].getTraceback())

    def route_of(self, endpoint: Endpoint) -> Route | None:
        """The route that answers an endpoint."""
        router = self.federation_router if is_of_neighbours(endpoint.path) else self.client_router
        found = router.resolve(
            endpoint.method.encode(), endpoint.filled(dict.fromkeys(endpoint.parameters, "x")).encode()
        )
        return found.route if isinstance(found, Match) else None

    def ask(self, request: Request, token: str | None = None) -> Response:
        """Make a request, as the user with `token` or as hs2, and check what holds for every answer."""
        self.failures.clear()
        if is_of_neighbours(request.path):
            response = self._ask_signed(request)
        else:
            response = self.clients.request(request.method, request.target, body=request.body, token=token)
        assert not self.failures, f"{request}\n{self.failures[0]}"
        assert response.status < 500 or response.status in UNAVAILABLE, f"{request}: {response}"
        check_form(response, str(request))
        return response

    def _ask_signed(self, request: Request) -> Response:
        """A body that canonical JSON cannot say goes out under a signature that is not its own."""
        try:
            decoded = None if request.body is None else json.loads(request.body)
            content = None if decoded is None else canonical.encode(decoded)
        except (ValueError, RecursionError):
            content = None
        header = sign_request(
            self.world["hs2"].keys.signer,
            method=request.method,
            uri=request.target,
            destination=ServerName("hs1"),
            content=content,
        )
        return self.neighbours.request(
            request.method, request.target, body=request.body, headers={"Authorization": header}
        )


def check_form(response: Response, context: str) -> None:
    """Answers are JSON; failures say why, in the specification's way."""
    assert response.headers["content-type"] == "application/json", f"{context}: {response}"
    body = json.loads(response.body)
    if response.status < 400 or (response.status == 401 and "flows" in body):
        return
    assert body["errcode"].startswith("M_"), f"{context}: {response}"
    assert len(body["error"]) > 10, f"{context}: {response}"
