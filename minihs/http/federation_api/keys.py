"""Signing keys: our own, and as a notary those of others. Server-Server API, "Retrieving server keys".

These requests are not signed: a server needs the keys before it can check any signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.events.ids import InvalidIdentifier, ServerName, parse_server_name
from minihs.federation.keyring import Keyring
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

MAX_SERVERS = 50
"""Servers in one `POST /query`: each may make us ask a server that we do not know."""
MAX_BODY_BYTES = 64 * 1024


class KeyCriteria(msgspec.Struct):
    """What the asker needs of one key."""

    minimum_valid_until_ts: int | None = None


class KeyQuery(msgspec.Struct):
    """The body of `POST /query`: server name to key ID to criteria."""

    server_keys: dict[str, dict[str, KeyCriteria]]


class Keys:
    """Publishes keys."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def routes(self) -> list[Route]:
        """The three routes."""
        limit = "federation_open"
        return [
            Route(
                method="GET",
                path="/_matrix/key/v2/server",
                access=Access.OPEN,
                handler=self.own_keys,
                limit=limit,
            ),
            Route(
                method="GET",
                path="/_matrix/key/v2/query/{server_name}",
                access=Access.OPEN,
                handler=self.query_one,
                limit=limit,
            ),
            Route(
                method="POST",
                path="/_matrix/key/v2/query",
                access=Access.OPEN,
                handler=self.query_many,
                body=KeyQuery,
                limit=limit,
                max_body=MAX_BODY_BYTES,
            ),
        ]

    async def own_keys(self, request: ApiRequest) -> dict[str, Any]:  # noqa: ARG002
        """GET /_matrix/key/v2/server"""
        return self._keyring.own_document()

    async def query_one(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/key/v2/query/{serverName}"""
        minimum = request.query.integer("minimum_valid_until_ts", minimum=0)
        return await self._answer({_server_name(request.args["server_name"]): minimum})

    async def query_many(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/key/v2/query"""
        query: KeyQuery = request.body
        if len(query.server_keys) > MAX_SERVERS:
            raise MatrixError(400, "M_INVALID_PARAM", f"Ask for at most {MAX_SERVERS} servers at once.")
        return await self._answer(
            {
                _server_name(name): max(
                    (
                        criteria.minimum_valid_until_ts
                        for criteria in wanted.values()
                        if criteria.minimum_valid_until_ts is not None
                    ),
                    default=None,
                )
                for name, wanted in sorted(query.server_keys.items())
            }
        )

    async def _answer(self, wanted: Mapping[ServerName, int | None]) -> dict[str, Any]:
        """One document for each server that has one; those without are left out."""
        documents = [await self._keyring.notarised(name, minimum) for name, minimum in wanted.items()]
        return {"server_keys": [document for document in documents if document is not None]}


def _server_name(text: str) -> ServerName:
    try:
        return parse_server_name(text)
    except InvalidIdentifier as error:
        raise MatrixError(400, "M_INVALID_PARAM", f"{error}.") from error
