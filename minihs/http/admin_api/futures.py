"""Any user's futures as an administrator sees them: list, inspect, cancel, explain.

On the client listener for administrators with an access token, and on the socket in the data directory, where
`minihs futures …` asks. Tokens are never shown; a delay ID only where the future's owner knows it too.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from minihs.events.ids import UserID
from minihs.futures.model import Cancelled, Failed, Future, Sent
from minihs.homeserver.errors import InvalidParam
from minihs.homeserver.futures.administration import FutureAdministration
from minihs.homeserver.futures.errors import FutureConflict
from minihs.homeserver.futures.explaining import Explanation
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.future_rows import FutureRow, StoredFuture
from minihs.store.futures_overview import START, Place
from minihs.store.users import UserRow

FUTURES = "/_minihs/admin/v1/futures"
PAGE = 100
MOST = 1000
_PLACE = re.compile(r"(?P<number>[0-9]{1,18})_(?P<moment>[0-9]{1,18})_(?P<owner>.*)", re.ASCII | re.DOTALL)


class Futures:
    """`{id}` is a future's number, or its delay ID. `user_named` finds the account of a user ID or its
    localpart, or raises NotFound."""

    def __init__(
        self,
        administration: FutureAdministration,
        user_named: Callable[[str], Awaitable[UserRow]],
        access: Access,
    ) -> None:
        self._administration = administration
        self._user_named = user_named
        self._access = access

    def routes(self) -> list[Route]:
        one = f"{FUTURES}/{{id}}"
        return [
            self._route("GET", FUTURES, self.some),
            self._route("GET", one, self.one),
            self._route("POST", f"{one}/cancel", self.cancel),
            self._route("GET", f"{one}/explain", self.explain),
        ]

    async def some(self, request: ApiRequest) -> dict[str, Any]:
        """GET /futures: by user; scheduled ones in order of scheduling, with `status=finalised` the others in
        order of their ends. `user` leaves out everybody else; `next` is the `after` of the next page."""
        query = request.query
        status = query.one("status") or "scheduled"
        if status not in ("scheduled", "finalised"):
            raise InvalidParam("`status` must be scheduled or finalised.")
        limit = query.integer("limit", default=PAGE, minimum=1, maximum=MOST) or PAGE
        page = await self._administration.page(
            _place(query.one("after")),
            limit,
            owner=await self._owner(query.one("user")),
            finalised=status == "finalised",
        )
        reply: dict[str, Any] = {"futures": [self._shown(row) for row in page.rows]}
        if page.following is not None:
            place = page.following
            reply["next"] = f"{place.future_id}_{place.moment}_{place.owner}"
        return reply

    async def one(self, request: ApiRequest) -> dict[str, Any]:
        """GET /futures/{id}: with its content."""
        return self._whole(await self._administration.one(request.args["id"]))

    async def cancel(self, request: ApiRequest) -> dict[str, Any]:
        """POST /futures/{id}/cancel: 409 when it was sent."""
        try:
            return self._whole(await self._administration.cancel(request.args["id"]))
        except FutureConflict as conflict:
            raise MatrixError(409, "M_UNKNOWN", conflict.message) from conflict

    async def explain(self, request: ApiRequest) -> dict[str, Any]:
        """GET /futures/{id}/explain: would it be sent now, and what decides."""
        stored, explanation = await self._administration.explain(request.args["id"])
        return {"future": self._whole(stored), **_explained(explanation)}

    def _route(self, method: str, path: str, handler: Any) -> Route:
        # Not a limit for each user: whoever administers may look at a lot.
        return Route(method=method, path=path, access=self._access, handler=handler)

    async def _owner(self, name: str | None) -> UserID | None:
        return None if name is None else (await self._user_named(name)).user_id

    def _whole(self, stored: StoredFuture) -> dict[str, Any]:
        row = FutureRow(stored.future, stored.group_id, stored.group_name)
        return {**self._shown(row), "content": stored.payload.content}

    def _shown(self, row: FutureRow) -> dict[str, Any]:
        future = row.future
        shown: dict[str, Any] = {
            "id": future.id,
            "user_id": future.owner,
            "room_id": future.room_id,
            "type": future.type,
            "delayed_since_ts": future.since_ts,
            "dialect": future.dialect,
            "cancel_rule": future.cancel_rule.name.lower().replace("_", "-"),
            "group": {"id": row.group_id} | ({} if row.group_name is None else {"name": row.group_name}),
            "status": _status(future),
        }
        optional = {
            "delay_id": future.delay_id if future.reveals_id else None,
            "state_key": future.state_key,
            "delay_ms": future.timeout_ms,
            "due_in_ms": self._administration.wait_ms(future),
            "part": future.part,
            "finalised": _finalised(future),
        }
        return shown | {name: value for name, value in optional.items() if value is not None}


def _status(future: Future) -> str:
    match future.outcome:
        case None:
            return "scheduled"
        case Sent():
            return "sent"
        case Cancelled():
            return "cancelled"
        case Failed():
            return "failed"


def _finalised(future: Future) -> dict[str, Any] | None:
    outcome = future.outcome
    if outcome is None:
        return None
    told: dict[str, Any] = {"finalised_ts": outcome.at_wall_ms, "cause": outcome.cause.value}
    if isinstance(outcome, Sent):
        told["event_id"] = outcome.event_id
    elif isinstance(outcome, Failed):
        told["error"] = outcome.error.to_json()
    return told


def _explained(explanation: Explanation) -> dict[str, Any]:
    return {
        "would_be_sent": explanation.would_be_sent,
        "decided_by": explanation.decided_by,
        "rule": explanation.rule,
        "checks": [
            {"check": check.name, "passes": check.passes, "says": check.says}
            | ({} if check.error is None else {"error": check.error.to_json()})
            for check in explanation.checks
        ],
        "events": [
            {
                "event_id": event.event_id,
                "type": event.type,
                "state_key": event.state_key,
                "sender": event.sender,
                "summary": event.summary,
            }
            for event in explanation.events
        ],
    }


def _place(after: str | None) -> Place:
    if after is None:
        return START
    place = _PLACE.fullmatch(after)
    if place is None:
        raise InvalidParam("`after` must be the `next` of an earlier page.")
    return Place(place["owner"], int(place["moment"]), int(place["number"]))
