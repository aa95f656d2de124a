"""From a request to its reply: route, credentials, limit, body, handler, error. The way every request takes.

Source: client-server API, "API Standards" and "Web Browser Clients".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from wsgiref.handlers import format_date_time

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.http import HTTPFactory

from minihs.http import errors
from minihs.http.addresses import TrustedProxies
from minihs.http.auth import (
    NO_SERVERS,
    NO_TOKENS,
    ServerAuthenticator,
    TokenReader,
    access_token,
    check_standing,
)
from minihs.http.channel import ApiChannel, ApiHTTPRequest, header_lines
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest, BodyReader, Query, Reply, decode_object
from minihs.http.routing import Access, BadPath, Match, MethodNotAllowed, Route, Router
from minihs.platform.clock import Clock, sleep
from minihs.platform.logs import Logger

log = Logger()

IDLE_TIMEOUT_SECONDS = 120
"""A connection on which nothing is under way and nothing arrives for so long is closed."""

CLOSING_MS = 1_000
"""How long a stopping site waits, after the last reply, for connections to close: by then it has left."""

CLIENT_MAX_BODY_BYTES = 1024 * 1024
"""No body of the client API is meaningful beyond this: an event is at most 64 KiB, and a filter, an account
data entry or a `createRoom` with many initial events stays well below."""

SERVER_PATHS = (b"/_matrix/federation/", b"/_matrix/key/")
"""Called by servers, never by browsers: no CORS."""


class Finished(msgspec.Struct, frozen=True):
    """What an observer is told of a request: no path, no address, no token."""

    route: str
    """The route's path with its `{parameters}`; empty when there is no such route."""
    method: str
    status: int
    seconds: float


_BY_TOKEN = frozenset({Access.OPTIONAL, Access.USER, Access.MEMBER, Access.ADMIN})

Observer = Callable[[Finished], None]


_HTTPFactory: Any = HTTPFactory  # its types are interfaces that mypy cannot read


class ApiFactory(_HTTPFactory):  # type: ignore[misc]
    """Serves the routes of one listener.

    ValueError when a route asks for a token, a signature or a limit of which nobody here knows, or is for
    administrators while the listener is not `local`. Constructing starts nothing; whoever listens ends with
    `stop`.
    """

    protocol = ApiChannel
    noisy = False

    def __init__(
        self,
        router: Router,
        *,
        clock: Clock,
        limiter: RateLimiter,
        tokens: TokenReader = NO_TOKENS,
        servers: ServerAuthenticator = NO_SERVERS,
        trusted_proxies: TrustedProxies | None = None,
        observer: Observer | None = None,
        max_body: int = CLIENT_MAX_BODY_BYTES,
        local: bool = False,
    ) -> None:
        super().__init__(timeout=IDLE_TIMEOUT_SECONDS, reactor=clock)
        self._router = router
        self._clock = clock
        self._limiter = limiter
        self._tokens = tokens
        self._servers = servers
        self._local = local
        self._proxies = trusted_proxies or TrustedProxies()
        self._observer = observer
        self._bodies: dict[int, BodyReader] = {}
        self.channels: dict[int, ApiChannel] = {}
        self._in_flight: dict[int, ApiHTTPRequest] = {}
        self._stopping = False
        self._awaited: tuple[Callable[[], bool], Deferred[None]] | None = None
        self._date_second = -1
        self._date_line = b""
        self._prepare(router)
        self._max_body = max_body
        self.max_body = max((route.max_body or max_body for route in router.routes), default=max_body)

    def _prepare(self, router: Router) -> None:
        for route in router.routes:
            if route.body is not None:
                self._bodies[id(route)] = BodyReader(route.body)
            if route.limit is not None and not self._limiter.knows(route.limit):
                raise ValueError(f"{route.method} {route.path} names an unknown limit: {route.limit}")
            if route.access is Access.SERVER and self._servers is NO_SERVERS:
                raise ValueError(f"{route.method} {route.path} needs an authenticator for servers")
            if (route.access is Access.LOCAL) is not self._local:
                raise ValueError(f"{route.method} {route.path} is on the wrong listener")
            if route.access in _BY_TOKEN and self._tokens is NO_TOKENS:
                raise ValueError(f"{route.method} {route.path} needs somebody who knows access tokens")

    def startFactory(self) -> None:  # noqa: N802
        """Twisted would start a timer for its own access log here."""

    def stopFactory(self) -> None:  # noqa: N802
        """Nothing was started."""

    def log(self, request: Any) -> None:
        """Twisted's access log would hold tokens; `observer` hears of every request instead."""

    async def stop(self, grace_ms: float = 10_000) -> None:
        """Take no more requests, end long polls, and wait at most `grace_ms` until the rest are answered.

        Then wait, a little, until the replies have left and the connections are closed. The listening port is
        the caller's to close, before this. Requests that still arrive on open connections get 503.
        """
        self._stopping = True
        for http in list(self._in_flight.values()):
            http.cancel()
        for channel in list(self.channels.values()):
            channel.close_when_idle()
        if not await self._reached(lambda: not self._in_flight, grace_ms):
            log.warn("stopping although {count} requests are unanswered", count=len(self._in_flight))
        await self._reached(lambda: not self.channels, CLOSING_MS)

    def channel_closed(self, channel: ApiChannel) -> None:
        """Called by a connection when it is over."""
        self.channels.pop(id(channel), None)
        self._progress()

    async def _reached(self, aim: Callable[[], bool], grace_ms: float) -> bool:
        """Wait until the aim is reached, at most so long; whether it was."""
        if aim():
            return True
        reached: Deferred[None] = Deferred()
        self._awaited = (aim, reached)
        patience = sleep(self._clock, grace_ms)
        patience.addCallbacks(lambda _: reached.callback(None), lambda failure: failure.trap(CancelledError))
        await reached
        self._awaited = None
        patience.cancel()
        return aim()

    def _progress(self) -> None:
        if self._awaited is not None:
            aim, reached = self._awaited
            if aim() and not reached.called:
                reached.callback(None)

    def serve(self, http: ApiHTTPRequest) -> None:
        """Called by the channel for every complete request."""
        self._in_flight[id(http)] = http
        http.serving = Deferred.fromCoroutine(self._serve(http))

    async def _serve(self, http: ApiHTTPRequest) -> None:
        started_ms = self._clock.monotonic_ms()
        route = None
        extra = b""
        typed = False
        try:
            if self._stopping:
                raise errors.stopping()
            if http.method == b"OPTIONS":
                status, content = 204, b""
            else:
                route = self._route(http)
                reply = await self._answer(http, route)
                if type(reply) is Reply:
                    status, body = reply.status, reply.body
                    content = body if type(body) is bytes else msgspec.json.encode(body)
                    if reply.headers:
                        extra = header_lines(reply.headers)
                        typed = "Content-Type" in reply.headers
                else:
                    status, content = 200, msgspec.json.encode(reply)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the client gets an answer
            error = self._error(raised, http, route)
            status, extra, content = (
                error.status,
                header_lines(error.headers),
                msgspec.json.encode(error.body),
            )
            # Its traceback leads to this call, which leads to it, and to the body on the way: see `channel`.
            error.__traceback__ = raised.__traceback__ = None
        http.cancellable = False
        http.respond(
            status,
            content,
            header_lines=self._date() + extra,
            typed=typed,
            cors=not http.path.startswith(SERVER_PATHS),
        )
        del self._in_flight[id(http)]
        if self._observer is not None:
            seconds = (self._clock.monotonic_ms() - started_ms) / 1000
            template = "" if route is None else route.path
            self._observer(Finished(template, http.method.decode("latin-1"), status, seconds))
        self._progress()

    def _route(self, http: ApiHTTPRequest) -> Route:
        found = self._router.resolve(http.method, http.path)
        if type(found) is Match:
            http.path_args = found.args
            return found.route
        if isinstance(found, MethodNotAllowed):
            raise MatrixError(
                405,
                "M_UNRECOGNIZED",
                f"This endpoint takes {', '.join(found.allowed)}.",
                headers={"Allow": ", ".join(found.allowed)},
            )
        if isinstance(found, BadPath):
            raise MatrixError(400, "M_INVALID_PARAM", found.reason)
        raise errors.unrecognized()

    async def _answer(self, http: ApiHTTPRequest, route: Route) -> Reply | dict[str, Any]:
        max_body = route.max_body or self._max_body
        if http.received_bytes > max_body:
            raise errors.too_large(max_body)
        raw_body = http.raw_body
        request = ApiRequest(
            method=route.method,
            path=http.path.decode("latin-1"),
            args=http.path_args,
            query=Query(http.raw_query),
            raw_body=raw_body,
            client_address=self._client_address(http),
            headers=http.requestHeaders,
        )
        access = route.access
        decoded: dict[str, Any] | None = None
        if access is Access.SERVER:
            decoded = decode_object(raw_body) if raw_body else None
            request.origin = await self._servers(route.method, http.uri, http.requestHeaders, decoded)
        elif access in _BY_TOKEN:
            await self._identify(http, request, route)
        if route.limit is not None:
            who = request.requester.user_id if request.requester is not None else request.origin
            self._limiter.charge(route.limit, who or request.client_address)
        if route.body is not None:
            reader = self._bodies[id(route)]
            request.body = reader.read(raw_body) if decoded is None else reader.convert(decoded)
        http.cancellable = route.long_poll
        return await route.handler(request)

    async def _identify(self, http: ApiHTTPRequest, request: ApiRequest, route: Route) -> None:
        values = http.requestHeaders.getRawHeaders(b"Authorization")
        query_token = None if values or not http.raw_query else request.query.one("access_token")
        token = access_token(values[-1] if values else None, query_token)
        if token is None:
            if route.access is Access.OPTIONAL:
                return
            raise MatrixError(401, "M_MISSING_TOKEN", "This needs an access token (`Authorization: Bearer`).")
        requester = self._tokens.recent(token)
        if requester is None:
            user_agent = request.header("User-Agent") or ""
            requester = await self._tokens.requester(token, request.client_address, user_agent)
        check_standing(requester, route)
        request.requester = requester

    def _error(self, raised: BaseException, http: ApiHTTPRequest, route: Route | None) -> MatrixError:
        if isinstance(raised, CancelledError) and (http.gone or self._stopping):
            return errors.stopping()
        error = errors.to_matrix_error(raised)
        if error is not None:
            return error
        # The route's template, not the path: paths, queries and bodies hold secrets.
        log.failure(
            "{method} {route} failed",
            method=http.method.decode("latin-1"),
            route=route.path if route else "?",
        )
        return errors.internal_error()

    def _client_address(self, http: ApiHTTPRequest) -> str:
        peer = http.channel.peer
        if not self._proxies:
            return peer
        values = http.requestHeaders.getRawHeaders(b"X-Forwarded-For") or []
        return self._proxies.client_address(peer, [value.decode("latin-1") for value in values])

    def _date(self) -> bytes:
        second = self._clock.wall_ms() // 1000
        if second != self._date_second:
            self._date_second = second
            self._date_line = f"Date: {format_date_time(second)}\r\n".encode("ascii")
        return self._date_line
