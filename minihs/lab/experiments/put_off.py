"""Ways to put off an event: MSC3277 in three readings, and a future; and worlds whose servers know one.

Used by `msc3277_vs_futures` and its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from minihs.homeserver.rooms.drafts import Reach
from minihs.lab.handles import Handle, Plan, scheduling
from minihs.lab.http_client import Response, in_path
from minihs.lab.people import Client, Refused
from minihs.lab.proposals.msc3277 import AT, ScheduledMessages
from minihs.lab.proposals.switch import Switch
from minihs.lab.world import World


class Way(msgspec.Struct, frozen=True):
    """How an event is put off. `reach` is the reading of MSC3277; None: a future."""

    title: str
    reach: Reach | None = None


FOLLOWED = Way("MSC3277, followed", Reach.WITHHELD)
ASIDE = Way("MSC3277, aside", Reach.ASIDE)
EARLY = Way("MSC3277, sent at once", Reach.EARLY)
FUTURES = Way("future")
WAYS = (FOLLOWED, ASIDE, EARLY, FUTURES)
IN_GRAPH = (FOLLOWED, ASIDE, EARLY)

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
    reach = way.reach
    switch = None if reach is None else Switch(world, lambda: ScheduledMessages(reach))
    for name in servers:
        world.add_server(name, policies=None if switch is None else switch.policies(name))
    for name in without:
        world.add_server(name)
    return Stage(world, {} if switch is None else switch.servers)


async def put_off(client: Client, way: Way, plan: Plan) -> Held:
    """Schedule an event."""
    if way.reach is None:
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
