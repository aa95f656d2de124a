"""How each dialect spells what a hand asks for: one class per dialect, shapes only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from tests.crash.ledger import Act, Plan

CLIENT = "/_matrix/client"
Request = tuple[str, str, Any]
"""Method, path and body."""

SECOND_MS = 1_000


class Dialect(Protocol):
    """`room` is the path segment of a room, `known_by` the reply to the request that scheduled a future."""

    def schedule(self, plan: Plan, room: str) -> Request: ...

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request: ...


class Merged:
    """Futures specification, 2.1."""

    def schedule(self, plan: Plan, room: str) -> Request:
        body: dict[str, Any] = {"delay_ms": plan.delay_ms, "content": plan.content}
        if plan.state_key is not None:
            body["state_key"] = plan.state_key
        return "PUT", f"{CLIENT}/v3/{room}/delayed_event/{plan.type}/{plan.mark}", body

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        return "POST", f"{CLIENT}/v1/delayed_events/{known_by['delay_id']}/{act.value}", {}


class DelayQuery:
    """Futures specification, 2.2."""

    def schedule(self, plan: Plan, room: str) -> Request:
        query = f"org.matrix.msc4140.delay={plan.delay_ms}"
        return "PUT", f"{CLIENT}/v3/{room}/send/{plan.type}/{plan.mark}?{query}", plan.content

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        path = f"{CLIENT}/unstable/org.matrix.msc4140/delayed_events/{known_by['delay_id']}"
        return "POST", path, {"action": act.value}


class Tokens:
    """Futures specification, 2.4."""

    def schedule(self, plan: Plan, room: str) -> Request:
        query = {}
        if plan.delay_ms is not None:
            query["future_timeout"] = str(plan.delay_ms)
        if plan.group is not None:
            query["future_group_id"] = plan.group
        if plan.state_key is None:
            path = f"{CLIENT}/v1/{room}/send_future/{plan.type}/{plan.mark}"
        else:
            path = f"{CLIENT}/v1/{room}/state_future/{plan.type}/{quote(plan.state_key)}"
        return "PUT", f"{path}?{urlencode(query)}", plan.content

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        kind = "refresh" if act is Act.RESTART else act.value
        return "POST", f"{CLIENT}/v1/future/{known_by[f'{kind}_token']}", {}


class Batch:
    """Futures specification, 2.5: an event at once, one on timeout, and the same one as an action."""

    def schedule(self, plan: Plan, room: str) -> Request:
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

    def schedule(self, plan: Plan, room: str) -> Request:
        assert plan.delay_ms is not None
        content = {**plan.content, "m.will_expire": plan.delay_ms // SECOND_MS}
        return "PUT", f"{CLIENT}/v3/{room}/send/{plan.type}/{plan.mark}", content

    def act(self, act: Act, known_by: Mapping[str, Any]) -> Request:
        what = {Act.RESTART: "refresh", Act.SEND: "end"}[act]
        body = {"expire_refresh_token": known_by["expire_refresh_token"]}
        return "PUT", f"{CLIENT}/v3/expiration/{what}", body


DIALECTS: Mapping[str, Dialect] = {
    "merged": Merged(),
    "delay-query": DelayQuery(),
    "tokens": Tokens(),
    "batch": Batch(),
    "will-expire": WillExpire(),
}

KNOWN_BY_ID = ("merged", "delay-query")
"""Dialects whose futures can be looked up."""

IN_SECONDS = ("batch", "will-expire")
"""Dialects that count in seconds, and send an event at once, in one transaction with what is to come."""


def is_beside(event: Mapping[str, Any]) -> bool:
    """Whether the event was sent at once, when its future was scheduled."""
    return "beside" in event["content"] or event["content"].get("m.will_expire") == "running"
