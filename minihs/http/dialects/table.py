"""Who answers what several dialects claim: the one place that decides it, for every combination that is on.

No shapes of requests here. Futures specification, 2.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, get_args

from minihs.config import DialectName
from minihs.events.ids import UserID
from minihs.http.dialects.base import Dialect, Endpoint, OrdinarySend
from minihs.http.dialects.batch_body import is_batch
from minihs.http.dialects.mixing import check_parameter, guarded, off
from minihs.http.dialects.spelling import BATCH_TYPE, WILL_EXPIRE, C, U
from minihs.http.errors import MatrixError
from minihs.http.request import Reply
from minihs.http.routing import Route

NAMES: tuple[str, ...] = get_args(DialectName)
"""Every dialect that the setting `futures.dialects` may name, in order of their texts."""

SHARED: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        # Both know the action from the path; the unstable one follows the rules of the older.
        ("POST", f"{U}/delayed_events/{{}}/{{}}"): ("delay-query", "merged"),
        # Tokens mean the same in all three; a listing shows each future in its own dialect's shape.
        ("GET", f"{C}/v1/future"): ("tokens", "tokens-on-send", "future-id", "batch"),
        ("GET", f"{C}/v3/futures"): ("tokens", "tokens-on-send", "batch"),
        ("GET", f"{U}/future"): ("tokens", "tokens-on-send"),
        ("POST", f"{C}/v1/future/{{}}"): ("tokens", "tokens-on-send", "batch"),
        ("POST", f"{C}/v3/futures/{{}}"): ("tokens", "tokens-on-send", "batch"),
        ("PUT", f"{C}/v3/futures/{{}}"): ("tokens", "tokens-on-send", "batch"),
        ("POST", f"{U}/future/{{}}"): ("tokens", "tokens-on-send", "batch"),
    }
)
"""Who answers a method and path that several dialects offer: the first of those that are on."""

_ARGUMENT = re.compile(r"\{[a-z_]+\}")


class Dialects:
    """The dialects that are on, seen as one."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._dialects = tuple(dialects)
        self._on = frozenset(dialect.name for dialect in self._dialects)
        if len(self._on) != len(self._dialects):
            raise ValueError("a dialect is on twice")
        if {"tokens-on-send", "future-id"} <= self._on:
            raise ValueError("tokens-on-send and future-id share their parameters: only one can be on")
        self._parameters = frozenset().union(*(dialect.parameters for dialect in self._dialects))
        self._marks = frozenset({WILL_EXPIRE}.union(*(dialect.marks for dialect in self._dialects)))
        self._types = frozenset({BATCH_TYPE}.union(*(dialect.types for dialect in self._dialects)))

    def routes(self) -> list[Route]:
        """One route for each path that a dialect which is on offers."""
        offers: dict[tuple[str, str], dict[str, tuple[Endpoint, str]]] = {}
        for dialect in self._dialects:
            for endpoint in dialect.endpoints():
                for path in endpoint.paths:
                    shape = (endpoint.method, _ARGUMENT.sub("{}", path))
                    offers.setdefault(shape, {})[dialect.name] = (endpoint, path)
        return [_route(_answerer(shape, offered), offered) for shape, offered in offers.items()]

    def claim(self, send: OrdinarySend) -> Awaitable[Reply | dict[str, Any]] | None:
        """The answer of the dialect that an ordinary send belongs to; None when it is an ordinary one.

        MatrixError 400 `M_INVALID_PARAM` when the dialect is off, or when two are meant.
        """
        parameters = send.request.query.names()
        if not parameters and self._marks.isdisjoint(send.content) and send.type not in self._types:
            return None
        claimers = [
            dialect
            for dialect in self._dialects
            if not (
                dialect.parameters.isdisjoint(parameters)
                and dialect.marks.isdisjoint(send.content)
                and send.type not in dialect.types
            )
            and dialect.claims(send)
        ]
        for parameter in parameters:
            check_parameter(parameter, self._on, self._parameters)
        if "will-expire" not in self._on and type(send.content.get(WILL_EXPIRE)) is int:
            raise off(f"an integer `{WILL_EXPIRE}`", ("will-expire",))
        if "batch" not in self._on and send.type == BATCH_TYPE and send.txn_id and is_batch(send.content):
            raise off("a batch of events", ("batch",))
        if len(claimers) > 1:
            names = " and ".join(dialect.name for dialect in claimers)
            raise MatrixError(400, "M_INVALID_PARAM", f"The request mixes the dialects {names}: use one.")
        return claimers[0].answer(send) if claimers else None

    def unstable_features(self) -> dict[str, bool]:
        """What `GET /versions` says of futures."""
        return _merged(dialect.unstable_features() for dialect in self._dialects)

    def capabilities(self) -> dict[str, Any]:
        """What `GET /capabilities` says of futures."""
        return _merged(dialect.capabilities() for dialect in self._dialects)

    async def sync_part(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The top-level keys of a `/sync` response that are about futures."""
        part: dict[str, Any] = {}
        for dialect in self._dialects:
            part.update(await dialect.sync_part(user_id, after, upto, filter_keys))
        return part


def _answerer(shape: tuple[str, str], offered: Mapping[str, object]) -> str:
    if len(offered) == 1:
        return next(iter(offered))
    for name in SHARED.get(shape, ()):
        if name in offered:
            return name
    raise ValueError(f"{' and '.join(sorted(offered))} offer {shape}; the table of shared paths must decide")


def _route(dialect: str, offered: Mapping[str, tuple[Endpoint, str]]) -> Route:
    endpoint, path = offered[dialect]
    return Route(
        method=endpoint.method,
        path=path,
        access=endpoint.access,
        handler=guarded(endpoint, dialect),
        body=endpoint.body,
        limit=endpoint.limit,
    )


def _merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        merged.update(part)
    return merged
