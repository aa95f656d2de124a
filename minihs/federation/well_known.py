"""`https://<hostname>/.well-known/matrix/server`: fetched within bounds and cached, failures too.

What the delegated name means for a connection is for `discovery` to say. Answers to step 3 of the
Server-Server API's "Resolving server names".
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit

import msgspec
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from minihs.events.ids import InvalidIdentifier, ServerName, parse_server_name
from minihs.federation.bounded_cache import BoundedCache
from minihs.federation.connecting import Connector, target_of
from minihs.federation.http_exchange import ask, read_body
from minihs.federation.late_agent import LateAgent
from minihs.federation.shared_work import SharedWork
from minihs.platform.clock import Clock
from minihs.platform.logs import Logger

if TYPE_CHECKING:
    from twisted.web.client import URI

log = Logger()

PATH = "/.well-known/matrix/server"
MAX_BODY_BYTES = 64 * 1024
MAX_REDIRECTS = 5
TIMEOUT_MS = 15_000
"""For the whole exchange, redirects included."""
CACHED_HOSTS = 10_000

HOUR_MS = 3_600_000
DEFAULT_LIFE_MS = 24 * HOUR_MS  # the spec's default where the answer names none
MAX_LIFE_MS = 48 * HOUR_MS  # the spec's recommended maximum
MIN_LIFE_MS = 5 * 60_000  # an answer that forbids caching is not asked for with every request all the same
FIRST_FAILURE_LIFE_MS = 60_000
MAX_FAILURE_LIFE_MS = HOUR_MS  # the spec's recommended maximum for errors; reached by doubling

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])", re.IGNORECASE)


class NoWellKnown(Exception):
    """The host publishes no usable delegation; the message says why."""


class WellKnown(msgspec.Struct, frozen=True):
    """What a host delegates to (None: nothing, or nothing usable) and until when that is known."""

    delegated_name: ServerName | None
    ends_ms: float  # monotonic
    failures: int = 0


class WellKnownClient:
    """Looks delegations up, one request at a time for each host."""

    def __init__(self, connector: Connector, clock: Clock, user_agent: str = "minihs") -> None:
        self._clock = clock
        self._agent = LateAgent(clock, _Endpoints(connector))
        self._user_agent = user_agent
        self._cache: BoundedCache[str, WellKnown] = BoundedCache(CACHED_HOSTS)
        self._lookups: SharedWork[str, WellKnown] = SharedWork()

    async def lookup(self, hostname: str) -> WellKnown:
        """What `hostname` delegates to. Never raises: every failure is an answer, and is cached as one."""
        known = self._cache.get(hostname, float("-inf"))
        if known is not None and self._clock.monotonic_ms() < known.ends_ms:
            return known
        failures = 0 if known is None else known.failures
        return await self._lookups.run(hostname, lambda: self._fetch_and_cache(hostname, failures))

    async def _fetch_and_cache(self, hostname: str, failures: int) -> WellKnown:
        fetching = Deferred.fromCoroutine(self._fetch(f"https://{hostname}{PATH}"))
        fetching.addTimeout(TIMEOUT_MS / 1000, cast(Any, self._clock))
        try:
            name, life_ms = await fetching
        except Exception as error:  # noqa: BLE001 - the spec: whatever goes wrong, go on with step 4
            log.debug("no delegation by {host}: {error}", host=hostname, error=error)
            life_ms = min(FIRST_FAILURE_LIFE_MS << min(failures, 16), MAX_FAILURE_LIFE_MS)
            found = WellKnown(None, self._clock.monotonic_ms() + life_ms, failures + 1)
        else:
            found = WellKnown(name, self._clock.monotonic_ms() + life_ms)
        self._cache.put(hostname, found)
        return found

    async def _fetch(self, url: str) -> tuple[ServerName, int]:
        headers = Headers({"User-Agent": [self._user_agent], "Accept": ["application/json"]})
        for _ in range(MAX_REDIRECTS + 1):
            answer: Any = await ask(self._agent, self._clock, "GET", url.encode("ascii"), headers)
            body = await read_body(answer, MAX_BODY_BYTES)
            if answer.code == 200:
                return _delegated_name(body), _life_ms(answer, self._clock.wall_ms())
            if answer.code not in _REDIRECTS:
                raise NoWellKnown(f"{url} answers {answer.code}")
            url = _redirect_target(url, answer)
        raise NoWellKnown(f"more than {MAX_REDIRECTS} redirects")


def _delegated_name(body: bytes) -> ServerName:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NoWellKnown(f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise NoWellKnown("not a JSON object")
    try:
        name = parse_server_name(document.get("m.server"))
        target_of(name, 8448)
    except InvalidIdentifier as error:
        raise NoWellKnown(str(error)) from error
    return name


def _redirect_target(url: str, answer: IResponse) -> str:
    location = (cast(Any, answer).headers.getRawHeaders("location") or [""])[0]
    target: str = urljoin(url, location)
    parts = urlsplit(target)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or not target.isascii():
        raise NoWellKnown(f"a redirect to {target[:200]!a}, which is no plain https address")
    return target


def _life_ms(answer: IResponse, now_ms: int) -> int:
    """How long an answer is good: `Cache-Control`, else `Expires` (RFC 9111 section 5.3), within bounds."""
    headers = cast(Any, answer).headers
    control = ", ".join(headers.getRawHeaders("cache-control") or [])
    expires = headers.getRawHeaders("expires")
    max_age = _MAX_AGE.search(control)
    if _NO_CACHE.search(control):
        life_ms = 0
    elif max_age is not None:
        life_ms = int(max_age[1]) * 1000
    elif expires is not None:
        # Counted from the answer's own time where it tells it, so that a wrong clock there does no harm.
        dated_ms = _date_ms((headers.getRawHeaders("date") or [""])[0])
        life_ms = (_date_ms(expires[0]) or 0) - (now_ms if dated_ms is None else dated_ms)
    else:
        life_ms = DEFAULT_LIFE_MS
    return max(MIN_LIFE_MS, min(life_ms, MAX_LIFE_MS))


def _date_ms(text: str) -> int | None:
    """The time that an HTTP date says, in wall clock milliseconds; None when it says none (`0` is usual)."""
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def endpointForURI(self, uri: URI) -> Any:  # noqa: N802
        host: bytes = uri.host
        name = host.decode("ascii")
        spelled = f"[{name}]" if ":" in name else name
        target = target_of(f"{spelled}:{uri.port}", 443)
        return self._connector.endpoint([target], name)
