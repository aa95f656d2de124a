"""From the credentials of a request to who makes it, and whether its route is open to them.

Source: client-server API, "Using access tokens", "Account locking", "Account suspension", "Guest access".
How another server proves who it is stands in the server-server API; this module only asks for it.
"""

from __future__ import annotations

from typing import Any, Protocol

from minihs.events.ids import ServerName
from minihs.homeserver.accounts.sessions import Requester, UnknownToken
from minihs.http.errors import MatrixError
from minihs.http.routing import Access, Route
from minihs.http.whole_request import RequestHeaders

READING_METHODS = frozenset({"GET", "HEAD"})


class TokenReader(Protocol):
    """Finds out who an access token belongs to (`homeserver.sessions.Sessions`)."""

    def recent(self, token: str) -> Requester | None:
        """The answer at once, when the token was used lately; None says nothing."""

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:
        """The account and device; raises UnknownToken."""


class ServerAuthenticator(Protocol):
    """Finds out which server signed a request (federation)."""

    async def __call__(
        self, method: str, uri: bytes, headers: RequestHeaders, body: dict[str, Any] | None
    ) -> ServerName:
        """`uri` is the path and query as they stood in the request line. Raises MatrixError 401
        `M_UNAUTHORIZED` when the signature is missing or bad."""


class _NoTokens:
    def recent(self, token: str) -> Requester | None:  # noqa: ARG002
        return None

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:  # noqa: ARG002
        raise UnknownToken


class _NoServers:
    async def __call__(
        self,
        method: str,  # noqa: ARG002
        uri: bytes,  # noqa: ARG002
        headers: RequestHeaders,  # noqa: ARG002
        body: dict[str, Any] | None,  # noqa: ARG002
    ) -> ServerName:
        raise MatrixError(401, "M_UNAUTHORIZED", "No server may call this.")


NO_TOKENS: TokenReader = _NoTokens()
"""For a listener none of whose routes takes an access token."""
NO_SERVERS: ServerAuthenticator = _NoServers()
"""For a listener none of whose routes is called by servers."""


def access_token(authorization: bytes | None, query_token: str | None) -> str | None:
    """The access token of a request, from the header or, as older clients send it, from the query.

    v1.20 of the specification ends `?access_token=`; shipped SDKs (matrix-nio among them) know nothing else.
    """
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        try:
            return token.strip().decode("ascii") or None
        except UnicodeDecodeError:
            raise MatrixError(401, "M_UNKNOWN_TOKEN", "The access token is not known.") from None
    return query_token or None


def check_standing(requester: Requester, route: Route) -> None:
    """Refuse what the account may not do in its present standing, or not on this route."""
    if requester.is_locked and not route.while_locked:
        raise MatrixError(401, "M_USER_LOCKED", "This account is locked.", extra={"soft_logout": True})
    if requester.is_suspended:
        allowed = route.while_suspended
        if allowed is None:
            allowed = route.method in READING_METHODS
        if not allowed:
            raise MatrixError(403, "M_USER_SUSPENDED", "This account is suspended and cannot do this.")
    if route.access is Access.MEMBER and requester.is_guest:
        raise MatrixError(
            403, "M_GUEST_ACCESS_FORBIDDEN", "Guests cannot do this. Register an account first."
        )
    if route.access is Access.ADMIN and not requester.is_admin:
        raise MatrixError(403, "M_FORBIDDEN", "Only an administrator of this server can do this.")
