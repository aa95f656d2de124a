"""Tokens: who has one may do what it is for. Shared by the dialects that give tokens out.

Tokens of all of them are counted together when somebody guesses. Futures specification, 2.4 to 2.6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from minihs.futures.model import Future
from minihs.homeserver.futures.errors import (
    FutureConflict,
    NotRestartable,
    TokenSpent,
    TokenUnknown,
    UnknownFuture,
)
from minihs.homeserver.futures.service import Futures
from minihs.http.dialects.base import Endpoint
from minihs.http.dialects.lockout import TokenLockout
from minihs.http.dialects.spelling import C, U
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access

SEND, CANCEL, REFRESH = "send", "cancel", "refresh"
"""What a token of a single future is for."""


class Redemption:
    """Looks tokens up and does what they are for."""

    def __init__(self, *, futures: Futures, limiter: RateLimiter, lockout: TokenLockout) -> None:
        self._futures = futures
        self._limiter = limiter
        self._lockout = lockout
        self._actions: Mapping[str, Callable[[str], Awaitable[None]]] = {
            SEND: futures.send,
            CANCEL: futures.cancel,
            REFRESH: futures.restart,
        }

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The paths that take a token of any kind: what it is for, happens."""
        return (
            Endpoint(
                method="POST",
                paths=(f"{C}/v1/future/{{token}}", f"{C}/v3/futures/{{token}}", f"{U}/future/{{token}}"),
                access=Access.OPEN,
                handler=self.redeem,
            ),
            Endpoint(
                method="PUT", paths=(f"{C}/v3/futures/{{token}}",), access=Access.OPEN, handler=self.redeem
            ),
        )

    async def redeem(self, request: ApiRequest) -> dict[str, Any]:
        """`POST {C}/v1/future/{token}` and its other spellings."""
        future, purpose = await self.open(request, request.args["token"], self._actions)
        return await self.perform(self._actions[purpose](future.delay_id))

    async def open(self, request: ApiRequest, token: str, purposes: Collection[str]) -> tuple[Future, str]:
        """The future of a token and what it is for.

        410 for one that is unknown, spent or for something else; 429 after too many unknown ones in a row.
        """
        try:
            future, purpose = await self._futures.redeem(token)
        except TokenUnknown:
            raise self._lockout.unknown(request.client_address) from None
        except TokenSpent as spent:
            self._limiter.charge("futures_action", spent.delay_id)
            raise gone(spent.message) from None
        if purpose in purposes:
            self._lockout.good(request.client_address)
        self._limiter.charge("futures_action", future.delay_id)
        if purpose not in purposes:
            raise gone("This token is for something else.")
        return future, purpose

    async def perform(self, action: Awaitable[None]) -> dict[str, Any]:
        """Do it; 410 when the future was finalised meanwhile."""
        try:
            await action
        except (UnknownFuture, FutureConflict, NotRestartable) as finalised:
            raise gone("This token is spent: its delayed event is finalised.") from finalised
        return {}


def gone(sentence: str) -> MatrixError:
    """410, as the drafts have it for tokens that are unknown or spent."""
    return MatrixError(410, "M_NOT_FOUND", sentence)
