"""Signed requests to other servers over pooled HTTPS connections, bounded in time and size.

Where a server is found is `discovery`'s business, whether it is worth asking `retries`'; what an answer means
is the caller's. Answers to "API standards" and "Authentication" in the Server-Server API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from minihs.events import canonical
from minihs.events.ids import InvalidIdentifier, ServerName
from minihs.events.signatures import Signer
from minihs.federation.connecting import Connector
from minihs.federation.discovery import Discovery
from minihs.federation.http_exchange import ask, read_body
from minihs.federation.late_agent import LateAgent, Pooling
from minihs.federation.request_signing import sign_request
from minihs.federation.retries import RetryTable
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger

if TYPE_CHECKING:
    from twisted.web.client import URI

log = Logger()

Answer = TypeVar("Answer")

DEFAULT_TIMEOUT_MS = 60_000
DEFAULT_MAX_BYTES = 10 * 1024 * 1024
CONNECTIONS_PER_SERVER = 4
"""Idle connections that are kept for each server."""
IDLE_MS = 45_000
"""How long; servers commonly close theirs after 60 s, and the one who closes first should be us."""
MAX_RETRY_AFTER_MS = 3_600_000

_DOWN = frozenset({429, 502, 503, 504})
"""Answers that a server, or the proxy before it, gives when it cannot work at the moment."""


class RemoteRefusal(Exception):
    """The other server answered, and said no."""

    def __init__(self, status: int, errcode: str, error: str) -> None:
        super().__init__(f"{status} {errcode}: {error}")
        self.status = status
        self.errcode = errcode
        self.error = error

    @property
    def is_final(self) -> bool:
        """Whether the server has decided; another status says that it could not, or not now."""
        return self.status < 500 and self.status != 429


class Unreachable(Exception):
    """No usable answer: no route, no connection, a bad certificate, too slow, too large, no JSON, or left
    alone after earlier failures (then `retry_in_ms` says for how long)."""

    def __init__(self, message: str, retry_in_ms: int | None = None) -> None:
        super().__init__(message)
        self.retry_in_ms = retry_in_ms


class FederationClient:
    """Makes requests as this server."""

    def __init__(
        self,
        *,
        signer: Signer,
        clock: Clock,
        discovery: Discovery,
        connector: Connector,
        retries: RetryTable,
        user_agent: str = "minihs",
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._discovery = discovery
        self._retries = retries
        self._user_agent = user_agent
        self._agent = LateAgent(
            clock,
            _DestinationEndpoints(discovery, connector),
            Pooling(per_server=CONNECTIONS_PER_SERVER, idle_ms=IDLE_MS),
        )

    async def get(
        self,
        destination: ServerName,
        path: str,
        args: Mapping[str, str | list[str]] | None = None,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        ignore_backoff: bool = False,
    ) -> dict[str, Any]:
        """GET `path`, which is percent-encoded already; `args` become the query in their order."""
        query = "" if not args else "?" + urlencode(args, doseq=True, quote_via=quote)
        answer: dict[str, Any] = await self._request(
            "GET", destination, path + query, None, timeout_ms, max_bytes, ignore_backoff
        )
        return answer

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: Mapping[str, Any] | bytes,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        ignore_backoff: bool = False,
        must_succeed: bool = False,
    ) -> dict[str, Any]:
        """PUT a JSON object; bytes are taken as canonical JSON.

        With `must_succeed`, a refusal counts as a failure of the server: it is left alone for a while.
        """
        answer: dict[str, Any] = await self._request(
            "PUT", destination, path, body, timeout_ms, max_bytes, ignore_backoff, must_succeed
        )
        return answer

    async def post(
        self,
        destination: ServerName,
        path: str,
        body: Mapping[str, Any] | bytes,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        ignore_backoff: bool = False,
    ) -> dict[str, Any]:
        """POST a JSON object; bytes are taken as canonical JSON."""
        answer: dict[str, Any] = await self._request(
            "POST", destination, path, body, timeout_ms, max_bytes, ignore_backoff
        )
        return answer

    async def get_shaped(
        self,
        shape: type[Answer],
        destination: ServerName,
        path: str,
        args: Mapping[str, str | list[str]] | None = None,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> Answer:
        """GET as `get` does, for large answers: read as `shape` in one pass; what is `msgspec.Raw` in it is
        left for later. Raises Unreachable, too, when the answer has another shape."""
        query = "" if not args else "?" + urlencode(args, doseq=True, quote_via=quote)
        answer: Answer = await self._request(
            "GET", destination, path + query, None, timeout_ms, max_bytes, False, shape=shape
        )
        return answer

    async def put_shaped(
        self,
        shape: type[Answer],
        destination: ServerName,
        path: str,
        body: Mapping[str, Any],
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> Answer:
        """PUT as `put` does, with an answer as `get_shaped` reads it."""
        answer: Answer = await self._request(
            "PUT", destination, path, body, timeout_ms, max_bytes, False, shape=shape
        )
        return answer

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        return self._agent.close()

    async def _request(
        self,
        method: str,
        destination: ServerName,
        uri: str,
        body: Mapping[str, Any] | bytes | None,
        timeout_ms: int,
        max_bytes: int,
        ignore_backoff: bool,
        must_succeed: bool = False,
        shape: Any = None,
    ) -> Any:
        """The answer to one request. Raises RemoteRefusal or Unreachable, and nothing else."""
        if destination == self._signer.server_name:
            raise Unreachable("A server does not send requests to itself.")
        if not ignore_backoff:
            retry_at_ms = self._retries.retry_at_ms(destination)
            if retry_at_ms is not None:
                wait_ms = round(retry_at_ms - self._clock.monotonic_ms())
                raise Unreachable(f"{destination} failed before and is left alone for {wait_ms} ms.", wait_ms)
        content = body if body is None or isinstance(body, bytes) else canonical.encode(body)
        deadline_ms = self._clock.monotonic_ms() + timeout_ms
        exchange = Deferred.fromCoroutine(
            self._exchange(method, destination, uri, content, max_bytes, deadline_ms)
        )
        exchange.addTimeout(timeout_ms / 1000, cast(Any, self._clock))
        try:
            status, headers, answer = await exchange
        except InvalidIdentifier as error:
            raise Unreachable(f"{destination} is not a server name: {error}") from error
        except Exception as error:
            too_late = self._clock.monotonic_ms() >= deadline_ms
            reason = _reason(error)
            if isinstance(reason, CancelledError) and not too_late:
                raise reason from error  # our caller gave up; the other server has done nothing wrong
            self._discovery.forget(destination)
            self._retries.failed(destination)
            message = f"no answer within {timeout_ms} ms" if too_late else _in_words(reason)
            log.debug("{destination} is unreachable: {message}", destination=destination, message=message)
            raise Unreachable(f"{destination} cannot be reached: {message}") from error
        return self._judge(destination, status, headers, answer, must_succeed, shape)

    async def _exchange(
        self,
        method: str,
        destination: ServerName,
        uri: str,
        content: bytes | None,
        max_bytes: int,
        deadline_ms: float,
    ) -> tuple[int, Headers, bytes]:
        route = self._discovery.known_route(destination) or await self._discovery.route_to(destination)
        authorization = sign_request(
            self._signer, method=method, uri=uri, destination=destination, content=content
        )
        raw_headers: dict[str, list[str]] = {
            "Host": [route.host_header],
            "Authorization": [authorization],
            "User-Agent": [self._user_agent],
        }
        if content is not None:
            raw_headers["Content-Type"] = ["application/json"]
        headers = Headers(cast(Any, raw_headers))
        from twisted.web.client import ResponseNeverReceived  # late, see `late_agent`

        try:
            return await self._once(method, destination, uri, headers, content, max_bytes)
        except ResponseNeverReceived as error:
            # The other side closed an idle connection just as we wrote to it. Every request of the
            # Server-Server API may be repeated.
            lost = isinstance(_reason(error), (ConnectionDone, ConnectionLost))
            if not lost or self._clock.monotonic_ms() >= deadline_ms:
                raise
            return await self._once(method, destination, uri, headers, content, max_bytes)

    async def _once(
        self,
        method: str,
        destination: ServerName,
        uri: str,
        headers: Headers,
        content: bytes | None,
        max_bytes: int,
    ) -> tuple[int, Headers, bytes]:
        url = b"https://" + _as_host(destination) + uri.encode("ascii")
        response: Any = await ask(self._agent, self._clock, method, url, headers, content)
        body = await read_body(response, max_bytes)
        return response.code, response.headers, body

    def _judge(
        self,
        destination: ServerName,
        status: int,
        headers: Headers,
        answer: bytes,
        must_succeed: bool,
        shape: Any,
    ) -> Any:
        if status == 200 and shape is not None:
            try:
                shaped = msgspec.json.decode(answer, type=shape)
            except msgspec.ValidationError as misshapen:
                self._retries.succeeded(destination)
                raise wrong_shape(destination, misshapen) from misshapen
            except (msgspec.DecodeError, RecursionError):
                pass  # no JSON: judged below
            else:
                self._retries.succeeded(destination)
                return shaped
        try:
            decoded = msgspec.json.decode(answer)
        except (msgspec.DecodeError, RecursionError):
            decoded = None
        if status == 200 and isinstance(decoded, dict):
            self._retries.succeeded(destination)
            return decoded
        if status in _DOWN or must_succeed:
            self._retries.failed(destination, least_ms=_retry_after_ms(headers, decoded))
        elif isinstance(decoded, dict):
            self._retries.succeeded(destination)
        if status == 200:
            raise Unreachable(f"{destination} answered with something that is not a JSON object.")
        details = decoded if isinstance(decoded, dict) else {}
        errcode, error = details.get("errcode"), details.get("error")
        raise RemoteRefusal(
            status,
            errcode if isinstance(errcode, str) else "M_UNKNOWN",
            error if isinstance(error, str) else f"{destination} answered {status}.",
        )


def wrong_shape(destination: ServerName, error: msgspec.ValidationError) -> Unreachable:
    """What an answer that makes no sense is called."""
    return Unreachable(f"{destination} answered with something of the wrong shape: {error}")


def _retry_after_ms(headers: Headers, decoded: object) -> int:
    """How long the other side asks us to wait: `Retry-After` in seconds or, as before, `retry_after_ms`."""
    seconds = (headers.getRawHeaders("retry-after") or [""])[0]
    if seconds.isascii() and seconds.isdigit() and len(seconds) < 10:
        return min(int(seconds) * 1000, MAX_RETRY_AFTER_MS)
    asked = decoded.get("retry_after_ms") if isinstance(decoded, dict) else None
    return max(0, min(asked, MAX_RETRY_AFTER_MS)) if type(asked) is int else 0


def _reason(error: BaseException) -> BaseException:
    """The error that matters: Twisted wraps it in lists of failures."""
    reasons = getattr(error, "reasons", None)
    return _reason(cast(Any, reasons[0]).value) if isinstance(reasons, list) and reasons else error


def _in_words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _as_host(destination: ServerName) -> bytes:
    """A server name in the place of a URL's host, where the agent makes its pool's key of it.

    It goes nowhere else. In hexadecimal, because a server name may have a port and brackets.
    """
    return destination.encode("ascii").hex().encode("ascii")


@implementer(IAgentEndpointFactory)
class _DestinationEndpoints(msgspec.Struct, frozen=True):
    discovery: Discovery
    connector: Connector

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        destination = ServerName(bytes.fromhex(cast(Any, uri).host.decode("ascii")).decode("ascii"))
        return cast(IStreamClientEndpoint, _DestinationEndpoint(self, destination))


@implementer(IStreamClientEndpoint)
class _DestinationEndpoint(msgspec.Struct, frozen=True):
    found_by: _DestinationEndpoints
    destination: ServerName

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        route = await self.found_by.discovery.route_to(self.destination)
        return await self.found_by.connector.connect(route.targets, route.verify_name, factory)
