"""How each dialect spells what a hand asks for: one class per dialect, shapes only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from minihs.http.dialects.table import NAMES
from tests.crash.ledger import Act, Plan

CLIENT = "/_matrix/client"
Request = tuple[str, str, Any]
"""Method, path and body."""

SECOND_MS = 1_000


class Dialect(Protocol):
    """`room` is the path segment of a room, `known_by` the reply to the request that scheduled a future, and
    `first` that for the first of its group, if it has another."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request: ...

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request: ...


class Merged:
    """Futures specification, 2.1."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        body: dict[str, Any] = {"delay_ms": plan.delay_ms, "content": plan.content}
        if plan.state_key is not None:
            body["state_key"] = plan.state_key
        return "PUT", f"{CLIENT}/v3/{room}/delayed_event/{plan.type}/{plan.mark}", body

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        return "POST", f"{CLIENT}/v1/delayed_events/{known_by['delay_id']}/{act.value}", {}


class DelayQuery:
    """Futures specification, 2.2."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        return _on_send(plan, room, {"org.matrix.msc4140.delay": str(plan.delay_ms)})

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        path = f"{CLIENT}/unstable/org.matrix.msc4140/delayed_events/{known_by['delay_id']}"
        return "POST", path, {"action": act.value}


class Tokens:
    """Futures specification, 2.4."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        query = _timeout_and(future_group_id=plan.group, plan=plan)
        if plan.state_key is None:
            path = f"{CLIENT}/v1/{room}/send_future/{plan.type}/{plan.mark}"
        else:
            path = f"{CLIENT}/v1/{room}/state_future/{plan.type}/{quote(plan.state_key)}"
        return "PUT", f"{path}?{urlencode(query)}", plan.content

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        kind = "refresh" if act is Act.RESTART else act.value
        return "POST", f"{CLIENT}/v1/future/{known_by[f'{kind}_token']}", {}


class TokensOnSend(Tokens):
    """Futures specification, 2.3; text 5."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        return _on_send(plan, room, _timeout_and(future_group_id=plan.group, plan=plan))


class FutureId:
    """Futures specification, 2.3, the draft of 2024-07-15. The parent of a group is its first future."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        parent_id = None if first is None else str(first["future_id"])
        return _on_send(plan, room, _timeout_and(parent_future_id=parent_id, plan=plan))

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        action = "refresh" if act is Act.RESTART else act.value
        body = {"future_id": known_by["future_id"], "action": action}
        return "POST", f"{CLIENT}/v1/update_future", body


class Batch:
    """Futures specification, 2.5: an event at once, one on timeout, and the same one as an action."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        assert plan.delay_ms is not None
        part = {"type": plan.type, "content": plan.content}
        now = {"type": plan.type, "content": {**plan.content, "beside": True}}
        body = {
            "timeout": plan.delay_ms // SECOND_MS,
            "send_on_timeout": part,
            "send_on_action": {"end": part},
            "send_now": now,
        }
        return "PUT", f"{CLIENT}/v3/{room}/send/future/{plan.mark}", body

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        if act is Act.CANCEL:
            return "POST", f"{CLIENT}/v1/future/{known_by['send_on_timeout']['cancel_token']}", {}
        what = {Act.RESTART: "refresh", Act.SEND: "action/end"}[act]
        return "PUT", f"{CLIENT}/v3/futures/{what}", {"future_token": known_by["future_token"]}


class WillExpire:
    """Futures specification, 2.6: an event at once, and a copy of it when it has expired or is ended."""

    def schedule(self, plan: Plan, room: str, first: Mapping[str, Any] | None) -> Request:
        assert plan.delay_ms is not None
        content = {**plan.content, "m.will_expire": plan.delay_ms // SECOND_MS}
        return "PUT", f"{CLIENT}/v3/{room}/send/{plan.type}/{plan.mark}", content

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        what = {Act.RESTART: "refresh", Act.SEND: "end"}[act]
        body = {"expire_refresh_token": known_by["expire_refresh_token"]}
        return "PUT", f"{CLIENT}/v3/expiration/{what}", body


def _on_send(plan: Plan, room: str, query: Mapping[str, str]) -> Request:
    """Through the ordinary endpoints, with query parameters."""
    place = f"send/{plan.type}/{plan.mark}"
    if plan.state_key is not None:
        place = f"state/{plan.type}/{quote(plan.state_key)}"
    return "PUT", f"{CLIENT}/v3/{room}/{place}?{urlencode(query)}", plan.content


def _timeout_and(*, plan: Plan, **group: str | None) -> dict[str, str]:
    timeout = None if plan.delay_ms is None else str(plan.delay_ms)
    query = {"future_timeout": timeout, **group}
    return {name: value for name, value in query.items() if value is not None}


DIALECTS: Mapping[str, Dialect] = {
    "merged": Merged(),
    "delay-query": DelayQuery(),
    "tokens": Tokens(),
    "tokens-on-send": TokensOnSend(),
    "future-id": FutureId(),
    "batch": Batch(),
    "will-expire": WillExpire(),
}

KNOWN_BY_ID = ("merged", "delay-query")
"""Dialects whose futures can be looked up."""

ENDED_BY_ANY_STATE = ("tokens", "tokens-on-send", "future-id")
"""Dialects whose state futures a newer state event of the same user ends, too."""

MANAGED_BY_OWNERS = ("merged", "future-id")
"""Dialects whose actions need the owner's access token."""

WITH_FUTURE_ID = tuple(name for name in NAMES if name != "tokens-on-send")
"""What a server speaks on which `future-id` is on."""

IN_SECONDS = ("batch", "will-expire")
"""Dialects that count in seconds, and send an event at once, in one transaction with what is to come."""


def is_beside(event: Mapping[str, Any]) -> bool:
    """Whether the event was sent at once, when its future was scheduled."""
    return "beside" in event["content"] or event["content"].get("m.will_expire") == "running"
