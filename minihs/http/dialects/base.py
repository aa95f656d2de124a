"""What a dialect (one generation of futures) may claim of the HTTP surface, and nothing else.

No time, no rights and no storage here: a dialect turns requests into commands and outcomes into replies.
Which dialect answers where several could is decided in `dialects.table`. Futures specification, 2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from minihs.events.ids import UserID

if TYPE_CHECKING:
    from minihs.http.request import ApiRequest, Reply
    from minihs.http.routing import Access


class OrdinarySend(msgspec.Struct, frozen=True, kw_only=True):
    """A request to `PUT …/send/{type}/{txnId}` or `PUT …/state/{type}/{stateKey}`, before it is acted upon.

    `state_key` is None for a message, `txn_id` is None for a state event; `content` is the decoded body.
    """

    request: ApiRequest
    room_id: str
    type: str
    state_key: str | None
    txn_id: str | None
    content: dict[str, Any]


Handler = Callable[["ApiRequest"], Awaitable["Reply | dict[str, Any]"]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one or more spellings of a path that a dialect can answer.

    Several dialects may offer the same spelling; the table then names the one that is asked.
    `body` is the type that is checked before the handler runs (`Route.body`); `limit` names the rate-limit
    bucket of the route, None when the dialect limits by itself. The table refuses what belongs to another
    dialect before the handler runs (`mixing`).
    """

    method: str
    paths: tuple[str, ...]
    access: Access
    handler: Handler
    body: Any = None
    limit: str | None = None
    parameters: frozenset[str] = frozenset()
    """Those of the query parameters of ordinary sends that this endpoint takes too."""


class Dialect(Protocol):
    """One generation of futures. `QuietDialect` answers "nothing" for what a generation does not touch."""

    name: str
    """As in the setting `futures.dialects`, and as stored with each future it schedules."""

    parameters: frozenset[str]
    """Query parameters of an ordinary send that are this dialect's."""

    marks: frozenset[str]
    """Keys in the content of an ordinary send that may make it this dialect's."""

    types: frozenset[str]
    """Event types of ordinary sends that may be this dialect's."""

    def endpoints(self) -> Sequence[Endpoint]:
        """The paths of its own."""

    def claims(self, send: OrdinarySend) -> bool:
        """Whether an ordinary send that has one of `parameters`, `marks` or `types` is this dialect's."""

    async def answer(self, send: OrdinarySend) -> Reply | dict[str, Any]:
        """Do what a claimed send asks for; it may also send an event at once."""

    def unstable_features(self) -> Mapping[str, bool]:
        """What `GET /versions` adds to `unstable_features`."""

    def capabilities(self) -> Mapping[str, Any]:
        """What `GET /capabilities` adds."""

    async def sync_part(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Top-level keys for `/sync`, about outcomes behind one position of their stream and up to another;
        `after` is None in an initial sync."""


class QuietDialect:
    """The answers of a dialect that claims nothing."""

    name: str = ""
    parameters: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def endpoints(self) -> Sequence[Endpoint]:
        return ()

    def claims(self, send: OrdinarySend) -> bool:
        """A parameter is enough; a mark must be looked at."""
        return not self.parameters.isdisjoint(send.request.query.names())

    async def answer(self, send: OrdinarySend) -> Reply | dict[str, Any]:
        raise NotImplementedError(f"{self.name} claims no ordinary send, so it was not asked for {send.type}")

    def unstable_features(self) -> Mapping[str, bool]:
        return {}

    def capabilities(self) -> Mapping[str, Any]:
        return {}

    async def sync_part(
        self,
        user_id: UserID,  # noqa: ARG002 - part of the interface
        after: int | None,  # noqa: ARG002
        upto: int,  # noqa: ARG002
        filter_keys: Mapping[str, Any],  # noqa: ARG002
    ) -> Mapping[str, Any]:
        return {}
