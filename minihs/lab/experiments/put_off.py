"""Ways to put off an event: MSC3277 in two readings, and a future; and worlds whose servers know one of them.

Used by `msc3277_vs_futures` and its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from minihs.lab.handles import Handle, Plan, scheduling
from minihs.lab.http_client import Response, in_path
from minihs.lab.people import Client, Refused
from minihs.lab.proposals.msc3277 import AT, ScheduledMessages
from minihs.lab.proposals.switch import Switch
from minihs.lab.world import World


class Way(msgspec.Struct, frozen=True):
    """How an event is put off. `as_sibling` is the reading of MSC3277; None: a future."""

    title: str
    as_sibling: bool | None = None

    @property
    def in_graph(self) -> bool:
        return self.as_sibling is not None


FOLLOWED = Way("MSC3277, followed", as_sibling=False)
ASIDE = Way("MSC3277, aside", as_sibling=True)
FUTURES = Way("future")
WAYS = (FOLLOWED, ASIDE, FUTURES)

Held = str | Handle
"""What the client holds of it: an event ID, or a future."""


class Stage(msgspec.Struct):
    """A world whose servers know one way; `scheduled` is what runs on them for MSC3277."""

    world: World
    scheduled: dict[str, ScheduledMessages]


def stage(seed: str, way: Way, servers: Iterable[str], *, without: Iterable[str] = ()) -> Stage:
    """A quiet world; the servers `without` do not know MSC3277."""
    world = World(seed=seed, settings={"federation.retry_max_ms": 10_000})
    world.transcript.mute("request")
    switch = Switch(world, lambda: ScheduledMessages(as_sibling=way.as_sibling is True))
    for name in servers:
        world.add_server(name, policies=switch.policies(name) if way.in_graph else None)
    for name in without:
        world.add_server(name)
    return Stage(world, switch.servers)


async def put_off(client: Client, way: Way, plan: Plan) -> Held:
    """Schedule an event."""
    if not way.in_graph:
        return await scheduling(client, plan)
    base = f"/rooms/{in_path(plan.room_id)}"
    if plan.state_key is None:
        path = f"{base}/send/{plan.type}/{client.txn()}"
    else:
        path = f"{base}/state/{plan.type}/{in_path(plan.state_key)}"
    at = client.server.clock.wall_ms() + plan.delay_ms
    reply = await client.call("PUT", path, json=plan.content, query={AT: at})
    if reply.status != 200:
        raise Refused("PUT", path, reply)
    return str(reply.json["event_id"])


async def cancel(client: Client, room_id: str, held: Held) -> Response:
    """Cancel it: by a redaction, or as a future."""
    if isinstance(held, Handle):
        return await held.command("cancel")
    path = f"/rooms/{in_path(room_id)}/redact/{in_path(held)}/{client.txn()}"
    nothing: dict[str, Any] = {}
    return await client.call("PUT", path, json=nothing)


async def beat(client: Client, way: Way, plan: Plan, held: Held) -> Held:
    """A heartbeat: restart the future; or schedule another event, and cancel the one before."""
    if isinstance(held, Handle):
        await held.command("restart")
        return held
    another = await put_off(client, way, plan)
    await cancel(client, plan.room_id, held)
    return another
