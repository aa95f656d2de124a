"""What `merged` and `delay-query` share: a delay ID, three actions on it, and how an outcome answers.

Shapes of requests and listings are in the dialects. Futures specification, 2.1 and 2.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from minihs.events.ids import UserID
from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.errors import FutureConflict, NotRestartable, UnknownFuture
from minihs.homeserver.futures.service import Futures
from minihs.http.dialects.base import Endpoint
from minihs.http.dialects.spelling import U
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access

ACTIONS = ("send", "cancel", "restart")
WITH_DELAY_ID = ("merged", "delay-query")
"""Dialects whose futures their owner knows by a delay ID."""


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


class Management:
    """Actions on futures by their delay IDs.

    `unauthenticated`: whether the ID is enough on the unstable paths. `unstable_conflict` is the status there
    of an action that contradicts the outcome: 404 (shipped clients take a 409 for a fatal error) or 409.
    """

    def __init__(
        self, *, futures: Futures, limiter: RateLimiter, unauthenticated: bool, unstable_conflict: int
    ) -> None:
        self._futures = futures
        self._limiter = limiter
        self._unauthenticated = unauthenticated
        self._unstable_conflict = unstable_conflict
        self._actions: Mapping[str, Callable[[str, UserID | None], Awaitable[None]]] = {
            "send": futures.send,
            "cancel": futures.cancel,
            "restart": futures.restart,
        }

    @property
    def unstable_access(self) -> Access:
        """Who may call the unstable action paths."""
        return Access.OPTIONAL if self._unauthenticated else Access.USER

    def unstable_actions(self) -> Endpoint:
        """`POST {U}/delayed_events/{delay_id}/{action}`."""
        return Endpoint(
            method="POST",
            paths=(f"{U}/delayed_events/{{delay_id}}/{{action}}",),
            access=self.unstable_access,
            handler=self._unstable_action,
        )

    async def stable(self, request: ApiRequest) -> dict[str, Any]:
        """An action named by the path, by the owner with an access token."""
        try:
            await self._action(request.args["action"])(request.args["delay_id"], request.user.user_id)
        except UnknownFuture:
            raise not_found() from None
        except (FutureConflict, NotRestartable) as conflict:
            raise MatrixError(409, "M_UNKNOWN", conflict.message) from conflict
        return {}

    async def unstable(self, request: ApiRequest, action: str) -> dict[str, Any]:
        """An action by whoever knows the ID; an access token that is given must be the owner's."""
        delay_id = request.args["delay_id"]
        perform = self._action(action)
        owner = None if request.requester is None else request.requester.user_id
        if owner is not None:
            self._limiter.charge("futures_manage", owner)
        else:
            self._limiter.charge("futures_action", delay_id)
        try:
            await perform(delay_id, owner)
        except UnknownFuture:
            # Only who guesses is charged by address: many participants of a call share one.
            if owner is None:
                self._limiter.charge("futures_address", request.client_address)
            raise not_found() from None
        except (FutureConflict, NotRestartable) as conflict:
            if self._unstable_conflict == 404:
                raise MatrixError(404, "M_NOT_FOUND", conflict.message) from conflict
            raise MatrixError(409, "M_UNKNOWN", conflict.message) from conflict
        return {}

    async def _unstable_action(self, request: ApiRequest) -> dict[str, Any]:
        return await self.unstable(request, request.args["action"])

    def _action(self, name: str) -> Callable[[str, UserID | None], Awaitable[None]]:
        action = self._actions.get(name)
        if action is None:
            raise MatrixError(404, "M_UNRECOGNIZED", f"The actions are {', '.join(ACTIONS)}.")
        return action
