"""What `merged` and `delay-query` share: a delay ID, three actions on it, and how an outcome answers.

Shapes of requests and listings are in the dialects. Futures specification, 2.1 and 2.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from minihs.events.ids import UserID
from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.errors import FutureConflict, NotRestartable, UnknownFuture
from minihs.homeserver.futures.service import Futures
from minihs.http.dialects.base import Endpoint
from minihs.http.dialects.spelling import C, U
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access

ACTIONS = ("send", "cancel", "restart")
WITH_DELAY_ID = ("merged", "delay-query")
"""Dialects whose futures their owner knows by a delay ID."""

MAX_ID = 64
"""Longer than any delay ID: what is made up by others takes no more memory than this."""


def not_found() -> MatrixError:
    """The answer for an ID that is unknown, or somebody else's."""
    return MatrixError(404, "M_NOT_FOUND", "There is no such delayed event.")


def capability(limits: FutureLimits) -> dict[str, Any]:
    """The limits that `GET /capabilities` tells, under the stable and the unstable name."""
    told = {
        name: limit
        for name, limit in (("max_delay_ms", limits.max_delay_ms), ("max_scheduled", limits.max_scheduled))
        if limit is not None
    }
    return {"m.delayed_events": told, "org.matrix.msc4140.delayed_events": told}


class Authority(msgspec.Struct, frozen=True):
    """Who may manage a future: `access` to the path, and whether an access token must be the owner's."""

    access: Access
    owners_only: bool

    def owner(self, request: ApiRequest) -> UserID | None:
        """Whose future it must be; None: anybody's."""
        if not self.owners_only or request.requester is None:
            return None
        return request.requester.user_id


OWNER = Authority(Access.USER, owners_only=True)
"""The owner, by an access token."""

BEARER = Authority(Access.OPTIONAL, owners_only=True)
"""Whoever knows the ID and gives no access token; one that is given must be the owner's."""

CAPABILITY = Authority(Access.OPTIONAL, owners_only=False)
"""Whoever knows the ID."""


class Authorities(msgspec.Struct, frozen=True, kw_only=True):
    """Who may manage futures: on the stable paths, and on the unstable ones."""

    stable: Authority = OWNER
    unstable: Authority = BEARER


class Management:
    """Actions on futures by their delay IDs.

    `unstable_conflict` is the status, on the unstable paths, of an action that contradicts the outcome: 404
    (shipped clients take a 409 for a fatal error) or 409.
    """

    def __init__(
        self, *, futures: Futures, limiter: RateLimiter, authorities: Authorities, unstable_conflict: int
    ) -> None:
        self._futures = futures
        self._limiter = limiter
        self._authorities = authorities
        self._unstable_conflict = unstable_conflict
        self._actions: Mapping[str, Callable[[str, UserID | None], Awaitable[None]]] = {
            "send": futures.send,
            "cancel": futures.cancel,
            "restart": futures.restart,
        }

    @property
    def unstable_access(self) -> Access:
        """Who may call the unstable action paths."""
        return self._authorities.unstable.access

    def stable_actions(self) -> Endpoint:
        """`POST {C}/v1/delayed_events/{delay_id}/{action}`."""
        return Endpoint(
            method="POST",
            paths=(f"{C}/v1/delayed_events/{{delay_id}}/{{action}}",),
            access=self._authorities.stable.access,
            handler=self._stable_action,
        )

    def unstable_actions(self) -> Endpoint:
        """`POST {U}/delayed_events/{delay_id}/{action}`."""
        return Endpoint(
            method="POST",
            paths=(f"{U}/delayed_events/{{delay_id}}/{{action}}",),
            access=self.unstable_access,
            handler=self._unstable_action,
        )

    async def unstable(self, request: ApiRequest, action: str) -> dict[str, Any]:
        """An action on an unstable path, which may name it elsewhere than in the path."""
        try:
            await self._perform(request, action, self._authorities.unstable)
        except (FutureConflict, NotRestartable) as conflict:
            if self._unstable_conflict == 404:
                raise MatrixError(404, "M_NOT_FOUND", conflict.message) from conflict
            raise MatrixError(409, "M_UNKNOWN", conflict.message) from conflict
        return {}

    async def _unstable_action(self, request: ApiRequest) -> dict[str, Any]:
        return await self.unstable(request, request.args["action"])

    async def _stable_action(self, request: ApiRequest) -> dict[str, Any]:
        try:
            await self._perform(request, request.args["action"], self._authorities.stable)
        except (FutureConflict, NotRestartable) as conflict:
            raise MatrixError(409, "M_UNKNOWN", conflict.message) from conflict
        return {}

    async def _perform(self, request: ApiRequest, action: str, authority: Authority) -> None:
        """Charge whoever asks, then do it; 404 for an ID that is unknown, or not theirs."""
        delay_id = request.args["delay_id"]
        requester = request.requester
        if requester is not None:
            self._limiter.charge("futures_manage", requester.user_id)
        else:
            self._limiter.charge("futures_action", delay_id[:MAX_ID])
        perform = self._action(action)
        try:
            await perform(delay_id, authority.owner(request))
        except UnknownFuture:
            # Only who guesses is charged by address: many participants of a call share one.
            if requester is None:
                self._limiter.charge("futures_address", request.client_address)
            raise not_found() from None

    def _action(self, name: str) -> Callable[[str, UserID | None], Awaitable[None]]:
        action = self._actions.get(name)
        if action is None:
            raise MatrixError(404, "M_UNRECOGNIZED", f"The actions are {', '.join(ACTIONS)}.")
        return action
