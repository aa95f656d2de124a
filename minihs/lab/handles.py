"""Futures in the words of each dialect: one way to schedule, restart, send and cancel, whatever the draft.

Every request goes over HTTP as a client of that time would have made it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from minihs.lab.http_client import Response, in_path
from minihs.lab.names import named
from minihs.lab.people import V3, Client, Refused

C1 = "/_matrix/client/v1"
U = "/_matrix/client/unstable/org.matrix.msc4140"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be sent in `delay_ms`. `now` is the content of one that is sent at once, in the same
    request, where the dialect can do that (`batch`)."""

    room_id: str
    type: str
    content: dict[str, Any]
    state_key: str | None = None
    delay_ms: int
    now: dict[str, Any] | None = None


class Command(msgspec.Struct, frozen=True):
    """A request that anybody who knows it can make, or its owner only."""

    method: str
    path: str
    body: dict[str, Any] = {}
    needs_owner: bool = True


class Handle:
    """A future as its client holds it. Commands are None where the dialect has no such thing."""

    def __init__(
        self, owner: Client, plan: Plan, dialect: str, commands: dict[str, Command], reply: dict[str, Any]
    ) -> None:
        self.owner = owner
        self.plan = plan
        self.dialect = dialect
        self.commands = commands
        self.reply = reply

    @property
    def delay_id(self) -> str | None:
        """The public ID, in the dialects that have one."""
        return self.reply.get("delay_id") or self.reply.get("future_id")

    async def command(self, action: str, by: Client | None = None) -> Response:
        """Do it, as the owner or, without a token, as somebody else."""
        command = named(f"action of {self.dialect}", action, self.commands)
        who = by or self.owner
        return await who.call(
            command.method, command.path, json=command.body, as_nobody=not command.needs_owner
        )

    def do(self, action: str, by: Client | None = None) -> Response:
        """Like `command`, turning the world on until the answer is there."""
        return self.owner.world.run(self.command(action, by), f"{action} of a future")


Scheduler = Callable[[Client, Plan], Awaitable[Handle]]


def _base(plan: Plan) -> str:
    return f"/rooms/{in_path(plan.room_id)}"


def _ordinary(client: Client, plan: Plan) -> str:
    if plan.state_key is None:
        return f"{V3}{_base(plan)}/send/{in_path(plan.type)}/{client.txn()}"
    return f"{V3}{_base(plan)}/state/{in_path(plan.type)}/{in_path(plan.state_key)}"


async def _ask(
    client: Client, method: str, path: str, body: Any, query: dict[str, Any] | None = None
) -> dict[str, Any]:
    response = await client.call(method, path, json=body, query=query)
    if response.status != 200:
        raise Refused(method, path, response)
    reply: dict[str, Any] = response.json
    return reply


async def merged(client: Client, plan: Plan) -> Handle:
    """MSC4140 as it was accepted: an endpoint of its own, the owner's token for everything."""
    path = f"{V3}{_base(plan)}/delayed_event/{in_path(plan.type)}/{client.txn()}"
    body: dict[str, Any] = {"delay_ms": plan.delay_ms, "content": plan.content}
    if plan.state_key is not None:
        body["state_key"] = plan.state_key
    reply = await _ask(client, "PUT", path, body)
    root = f"{C1}/delayed_events/{reply['delay_id']}"
    return Handle(
        client,
        plan,
        "merged",
        {action: Command("POST", f"{root}/{action}") for action in ("restart", "send", "cancel")},
        reply,
    )


async def delay_query(client: Client, plan: Plan) -> Handle:
    """The ordinary endpoints with a query parameter; the ID is the capability."""
    query = {"org.matrix.msc4140.delay": plan.delay_ms}
    reply = await _ask(client, "PUT", _ordinary(client, plan), plan.content, query)
    path = f"{U}/delayed_events/{reply['delay_id']}"
    return Handle(
        client,
        plan,
        "delay-query",
        {
            action: Command("POST", path, {"action": action}, needs_owner=False)
            for action in ("restart", "send", "cancel")
        },
        reply,
    )


async def tokens(client: Client, plan: Plan) -> Handle:
    """Endpoints of their own and a token for each thing that may be done."""
    query = {"future_timeout": plan.delay_ms}
    if plan.state_key is None:
        path = f"{C1}{_base(plan)}/send_future/{in_path(plan.type)}/{client.txn()}"
    else:
        path = f"{C1}{_base(plan)}/state_future/{in_path(plan.type)}/{in_path(plan.state_key)}"
    reply = await _ask(client, "PUT", path, plan.content, query)
    return Handle(client, plan, "tokens", _token_commands(reply), reply)


async def tokens_on_send(client: Client, plan: Plan) -> Handle:
    """The ordinary endpoints with query parameters, and tokens."""
    query = {"future_timeout": plan.delay_ms}
    reply = await _ask(client, "PUT", _ordinary(client, plan), plan.content, query)
    return Handle(client, plan, "tokens-on-send", _token_commands(reply), reply)


def _token_commands(reply: dict[str, Any]) -> dict[str, Command]:
    names = {"restart": "refresh_token", "send": "send_token", "cancel": "cancel_token"}
    return {
        action: Command("POST", f"{C1}/future/{reply[name]}", needs_owner=False)
        for action, name in names.items()
        if name in reply
    }


async def future_id(client: Client, plan: Plan) -> Handle:
    """The ordinary endpoints with query parameters, one ID, and the owner's token."""
    query = {"future_timeout": plan.delay_ms}
    reply = await _ask(client, "PUT", _ordinary(client, plan), plan.content, query)
    names = {"restart": "refresh", "send": "send", "cancel": "cancel"}
    commands = {
        action: Command("POST", f"{C1}/update_future", {"future_id": reply["future_id"], "action": name})
        for action, name in names.items()
    }
    return Handle(client, plan, "future-id", commands, reply)


async def batch(client: Client, plan: Plan) -> Handle:
    """Everything in one request; whole seconds; a token for the batch."""
    part: dict[str, Any] = {"type": plan.type, "content": plan.content}
    if plan.state_key is not None:
        part["state_key"] = plan.state_key
    body = {
        "timeout": max(1, round(plan.delay_ms / 1000)),
        "send_on_timeout": part,
        "send_on_action": {"now": part},
    }
    if plan.now is not None:
        body["send_now"] = {**part, "content": plan.now}
    path = f"{V3}{_base(plan)}/send/future/{client.txn()}"
    reply = await _ask(client, "PUT", path, body)
    token = {"future_token": reply["future_token"]}
    commands = {
        "restart": Command("POST", f"{V3}/futures/refresh", token, needs_owner=False),
        "send": Command("POST", f"{V3}/futures/action/now", token, needs_owner=False),
    }
    return Handle(client, plan, "batch", commands, reply)


async def will_expire(client: Client, plan: Plan) -> Handle:
    """The event itself is sent at once and says that it will expire; on timeout a copy says that it has."""
    content = {**plan.content, "m.will_expire": max(1, round(plan.delay_ms / 1000))}
    reply = await _ask(client, "PUT", _ordinary(client, plan), content)
    token = {"expire_refresh_token": reply["expire_refresh_token"]}
    commands = {
        "restart": Command("PUT", f"{V3}/expiration/refresh", token, needs_owner=False),
        "send": Command("PUT", f"{V3}/expiration/end", token, needs_owner=False),
    }
    return Handle(client, plan, "will-expire", commands, reply)


SCHEDULERS: dict[str, Scheduler] = {
    "will-expire": will_expire,
    "batch": batch,
    "tokens": tokens,
    "tokens-on-send": tokens_on_send,
    "future-id": future_id,
    "delay-query": delay_query,
    "merged": merged,
}
"""Every dialect that can schedule, in the order in which they were written."""


async def scheduling(client: Client, plan: Plan, dialect: str = "merged") -> Handle:
    """Schedule an event; Refused when the server does not take it, UnknownName for an unknown dialect."""
    return await named("dialect", dialect, SCHEDULERS)(client, plan)


def schedule(client: Client, plan: Plan, dialect: str = "merged") -> Handle:
    """Like `scheduling`, turning the world on until the answer is there."""
    return client.world.run(scheduling(client, plan, dialect), f"scheduling a future by {dialect}")
