"""Routes and the router: from a method and a raw path to one route and its decoded path arguments.

Nothing here knows about bodies, tokens or replies. Paths are as in the OpenAPI files of the Matrix
specification; what an unknown path or method is answered with: client-server API, "Common error codes".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec

if TYPE_CHECKING:
    from minihs.http.request import ApiRequest, Reply

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PARAMETER = re.compile(r"\{([a-z_]+)\}\Z")


class Access(Enum):
    """Who may call a route. Each route says it; there is no default."""

    OPEN = "open"
    """Anybody; a token is not even looked at."""
    OPTIONAL = "optional"
    """Anybody; a token that is given must be good."""
    USER = "user"
    """Anyone with an access token, guests too."""
    MEMBER = "member"
    """A registered user, no guest."""
    ADMIN = "admin"
    """A server administrator."""
    SERVER = "server"
    """Another homeserver, by a signed request."""
    LOCAL = "local"
    """Whoever may open the socket in the data directory; on no other listener."""


Handler = Callable[["ApiRequest"], Awaitable["Reply | dict[str, Any]"]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path, and everything that is checked before its handler runs."""

    method: str
    path: str
    """`/_matrix/client/v3/rooms/{room_id}`: a segment is literal or one `{parameter}`."""
    access: Access
    handler: Handler
    body: Any = None
    """A msgspec-decodable type, checked before the handler; None: `request.json` reads it when asked."""
    limit: str | None = None
    """The bucket of `minihs.http.limits` that a request is charged to: per user, per server when the request
    is signed, per address otherwise."""
    max_body: int | None = None
    """In bytes; None: what the listener takes at most."""
    long_poll: bool = False
    """The handler may wait long, changes nothing, and may be cancelled: when the client goes away, or when
    the server stops (catch `CancelledError` to reply early)."""
    while_locked: bool = False
    """A locked account may still do this (client-server API, "Account locking")."""
    while_suspended: bool | None = None
    """A suspended account may still do this ("Account suspension"); None: when the method only reads."""


def paths(*spellings: str) -> tuple[str, ...]:
    """Expand `{v3,r0}` alternatives: `paths("/_matrix/client/{r0,v3}/x")` is one path per alternative.

    Several spellings of one endpoint are several routes, so that metrics and limits see each.
    """
    expanded: list[str] = []
    for spelling in spellings:
        choice = re.search(r"\{([^{}]*,[^{}]*)\}", spelling)
        if choice is None:
            expanded.append(spelling)
            continue
        for alternative in choice.group(1).split(","):
            expanded.extend(paths(spelling[: choice.start()] + alternative + spelling[choice.end() :]))
    return tuple(expanded)


class Match(msgspec.Struct, frozen=True):
    """The route to run, with the decoded arguments of its path."""

    route: Route
    args: dict[str, str]


class NotFound(msgspec.Struct, frozen=True):
    """No route has this path."""


class MethodNotAllowed(msgspec.Struct, frozen=True):
    """The path exists, not with this method; `allowed` is sorted."""

    allowed: tuple[str, ...]


class BadPath(msgspec.Struct, frozen=True):
    """A path argument is no percent-encoded UTF-8."""

    reason: str


class _Node(msgspec.Struct):
    literals: dict[bytes, _Node] = msgspec.field(default_factory=dict)
    parameter: _Node | None = None
    methods: dict[bytes, tuple[Route, tuple[str, ...]]] = msgspec.field(default_factory=dict)


_NOT_FOUND = NotFound()


class Router:
    """A trie over path segments. A literal segment wins over a parameter at the same place."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._root = _Node()
        self.routes: list[Route] = []
        self.add(routes)

    def add(self, routes: Iterable[Route]) -> None:
        """Add routes; the same method on the same path twice is a programming error (ValueError)."""
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        if not route.path.startswith("/"):
            raise ValueError(f"the path of a route starts with a slash: {route.path}")
        node = self._root
        names: list[str] = []
        for segment in route.path[1:].split("/"):
            parameter = _PARAMETER.match(segment)
            if parameter is None:
                node = node.literals.setdefault(segment.encode(), _Node())
                continue
            names.append(parameter.group(1))
            if node.parameter is None:
                node.parameter = _Node()
            node = node.parameter
        method = route.method.encode()
        if method in node.methods:
            raise ValueError(f"two routes for {route.method} {route.path}")
        node.methods[method] = (route, tuple(names))
        self.routes.append(route)

    def resolve(self, method: bytes, raw_path: bytes) -> Match | NotFound | MethodNotAllowed | BadPath:
        """Find the route for a path as it stood in the request line, without its query.

        Segments are split before they are decoded, so `%2F` and `%21` may stand in an identifier. HEAD is
        answered by the GET route.
        """
        segments = raw_path.split(b"/")
        values: list[bytes] = []
        node = _descend(self._root, segments, 1, values)
        if node is None:
            return _NOT_FOUND
        found = node.methods.get(method)
        if found is None:
            found = node.methods.get(b"GET") if method == b"HEAD" else None
            if found is None:
                return MethodNotAllowed(_allowed(node))
        route, names = found
        if not names:
            return Match(route, {})
        try:
            return Match(
                route, {name: decode_segment(value) for name, value in zip(names, values, strict=True)}
            )
        except ValueError:
            return BadPath("The path holds something that is not percent-encoded UTF-8.")


def decode_segment(raw: bytes) -> str:
    """The text of one percent-encoded path segment; ValueError when it is no UTF-8 or a `%` leads nowhere."""
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            raise ValueError("broken percent escape")
        raw = unquote_to_bytes(raw)
    return raw.decode("utf-8")


def _allowed(node: _Node) -> tuple[str, ...]:
    methods = {method.decode() for method in node.methods} | {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return tuple(sorted(methods))


def _descend(node: _Node, segments: list[bytes], index: int, values: list[bytes]) -> _Node | None:
    """The node with methods that the segments from `index` on lead to; appends the values of parameters."""
    while index < len(segments):
        segment = segments[index]
        literal = node.literals.get(segment)
        parameter = node.parameter
        # Only the last segment may be empty (`/state/m.room.name/`): the empty state key.
        if parameter is None or (not segment and index + 1 < len(segments)):
            if literal is None:
                return None
            node = literal
        else:
            if literal is not None:
                known = len(values)
                found = _descend(literal, segments, index + 1, values)
                if found is not None:
                    return found
                del values[known:]
            values.append(segment)
            node = parameter
        index += 1
    return node if node.methods else None
