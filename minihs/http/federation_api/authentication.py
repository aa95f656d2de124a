"""Who signed a request, for routes with `Access.SERVER`. The check itself is `federation.request_signing`'s.

Source: Server-Server API, "Request Authentication".
"""

from __future__ import annotations

from typing import Any

from minihs.events.ids import ServerName
from minihs.federation.request_signing import NotAuthenticated, RequestVerifier
from minihs.http.errors import MatrixError
from minihs.http.whole_request import RequestHeaders


class SignedRequests:
    """The `ServerAuthenticator` of the federation listener."""

    def __init__(self, verifier: RequestVerifier) -> None:
        self._verifier = verifier

    async def __call__(
        self, method: str, uri: bytes, headers: RequestHeaders, body: dict[str, Any] | None
    ) -> ServerName:
        """The server that signed the request; MatrixError 401 `M_UNAUTHORIZED` when none did."""
        raw = headers.getRawHeaders(b"authorization") or []
        try:
            authorizations = [value.decode("ascii") for value in raw]
            return await self._verifier.verify(method, uri.decode("ascii"), authorizations, body)
        except UnicodeDecodeError:
            raise MatrixError(
                401, "M_UNAUTHORIZED", "The path and the Authorization header must be ASCII."
            ) from None
        except NotAuthenticated as refusal:
            raise MatrixError(401, "M_UNAUTHORIZED", str(refusal)) from refusal
