"""A site with one route of each kind, and the tokens that it knows."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred

from minihs.events.ids import DeviceID, ServerName, UserID
from minihs.homeserver.accounts.sessions import Requester, UnknownToken
from minihs.homeserver.errors import Forbidden
from minihs.http.errors import MatrixError
from minihs.http.limits import Limit, RateLimiter
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route, Router
from minihs.http.site import ApiFactory, Finished
from minihs.http.whole_request import RequestHeaders
from minihs.platform.clock import VirtualClock, sleep
from tests.support.http import HttpDriver

ALICE = Requester(user_id=UserID("@alice:hs.test"), device_id=DeviceID("PHONE"))
TOKENS = {
    "alice": ALICE,
    "guest": Requester(user_id=UserID("@guest:hs.test"), device_id=DeviceID("D"), is_guest=True),
    "admin": Requester(user_id=UserID("@admin:hs.test"), device_id=DeviceID("D"), is_admin=True),
    "locked": Requester(user_id=UserID("@locked:hs.test"), device_id=DeviceID("D"), is_locked=True),
    "suspended": Requester(user_id=UserID("@sus:hs.test"), device_id=DeviceID("D"), is_suspended=True),
}


class Tokens:
    """Knows the tokens of the table above; "alice" was used lately."""

    def recent(self, token: str) -> Requester | None:
        return ALICE if token == "alice" else None

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:
        if token == "expired":
            raise UnknownToken(soft_logout=True)
        if token not in TOKENS:
            raise UnknownToken
        return TOKENS[token]


class Body(msgspec.Struct):
    name: str
    count: int | None = None
    nested: dict[str, int] = {}


class AllOptional(msgspec.Struct):
    reason: str | None = None


class Site:
    """A site with one route of each kind."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.finished: list[Finished] = []
        self.seen: list[ApiRequest] = []
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0
        routes = [
            self.route("GET", "/_matrix/client/v3/open", Access.OPEN),
            self.route("GET", "/_matrix/client/v3/optional", Access.OPTIONAL),
            self.route("GET", "/_matrix/client/v3/user", Access.USER),
            self.route("PUT", "/_matrix/client/v3/user", Access.USER),
            self.route(
                "POST", "/_matrix/client/v3/logout", Access.USER, while_locked=True, while_suspended=True
            ),
            self.route("GET", "/_matrix/client/v3/member", Access.MEMBER),
            self.route("GET", "/_matrix/client/v3/admin", Access.ADMIN),
            self.route("POST", "/_matrix/client/v3/body", Access.OPEN, body=Body),
            self.route("POST", "/_matrix/client/v3/optional_body", Access.OPEN, body=AllOptional),
            self.route("POST", "/_matrix/client/v3/small", Access.OPEN, body=dict, max_body=64),
            self.route("PUT", "/_matrix/client/v3/rooms/{room_id}/send/{event_type}", Access.USER),
            self.route("GET", "/_matrix/client/v3/limited", Access.OPEN, limit="login"),
            self.route("POST", "/_matrix/federation/v1/send", Access.SERVER, body=Body),
            Route(method="GET", path="/refuse", access=Access.OPEN, handler=self.refuse),
            Route(method="GET", path="/crash", access=Access.OPEN, handler=self.crash),
            Route(method="GET", path="/slow", access=Access.OPEN, handler=self.slow),
            Route(method="GET", path="/poll", access=Access.OPEN, handler=self.poll, long_poll=True),
            Route(method="GET", path="/text", access=Access.OPEN, handler=self.text),
        ]
        self.refusal: Exception = Forbidden("No.")
        self.factory = ApiFactory(
            Router(routes),
            clock=self.clock,
            limiter=RateLimiter(self.clock, {"login": Limit(1.0, 2)}),
            tokens=Tokens(),
            servers=self.authenticate,
            observer=self.finished.append,
            **options,
        )
        self.driver = HttpDriver(self.factory, self.clock)

    def route(self, method: str, path: str, access: Access, **details: Any) -> Route:
        return Route(method=method, path=path, access=access, handler=self.echo, **details)

    async def authenticate(
        self, method: str, uri: bytes, headers: RequestHeaders, body: dict[str, Any] | None
    ) -> ServerName:
        if headers.getRawHeaders(b"Authorization") != [b"X-Matrix good"]:
            raise MatrixError(401, "M_UNAUTHORIZED", "Bad signature.")
        return ServerName("remote.test")

    async def echo(self, request: ApiRequest) -> dict[str, Any]:
        self.seen.append(request)
        return {"args": request.args}

    async def refuse(self, request: ApiRequest) -> dict[str, Any]:
        raise self.refusal

    async def crash(self, request: ApiRequest) -> dict[str, Any]:
        raise ZeroDivisionError("secret-in-a-message")

    async def slow(self, request: ApiRequest) -> dict[str, Any]:
        await sleep(self.clock, 500)
        self.seen.append(request)
        return {"slow": True}

    async def poll(self, request: ApiRequest) -> dict[str, Any]:
        try:
            await sleep(self.clock, 30_000)
        except CancelledError:
            self.cancelled += 1
            return {"early": True}
        return {"early": False}

    async def text(self, request: ApiRequest) -> Reply:
        return Reply(body=b"<p>", headers={"Content-Type": "text/html"})

    def get(self, path: str, **details: Any) -> Any:
        return self.driver.request("GET", path, **details)

    def post(self, path: str, **details: Any) -> Any:
        return self.driver.request("POST", path, **details)
