"""What heartbeats cost that hold up an event which is put off: traffic, graph, leaks, what is kept track of.

A part of `msc3277_vs_futures`.
"""

from __future__ import annotations

import msgspec

from minihs.lab.experiments.put_off import Way, beat, put_off, stage
from minihs.lab.handles import Plan
from minihs.lab.people import Client
from minihs.lab.views import scheduled_futures, view_of
from minihs.lab.wire import Exchange, Traffic
from minihs.lab.world import World
from minihs.store.events import Standing

LEFT = "org.example.call.left"
DELAY_MS = 15_000
BEAT_MS = 5_000
SERVERS = ("hs1", "hs2", "hs3")


class Beats(msgspec.Struct, frozen=True):
    """How much is played."""

    participants: int
    minutes: int

    @property
    def each(self) -> int:
        """Heartbeats of one participant."""
        return self.minutes * 60_000 // BEAT_MS

    @property
    def count(self) -> int:
        """Heartbeats of all."""
        return self.participants * self.each


class Measured(msgspec.Struct, kw_only=True):
    """What the heartbeats came to; sums over all servers but for `grown` and `skipped`, which are of hs1."""

    beats: Beats
    clients: Traffic
    servers: Traffic
    grown: int
    """Events that the graph has more."""
    asked_for: int
    """Requests of servers for events that they missed."""
    leaked: int
    """Pending events that a server got which was not their sender's: none was ever due."""
    skipped: int
    """Events in the database that no reader is ever shown."""
    waiting: int
    """What servers keep a timer for at the end."""


def play_beats(seed: int, beats: Beats, way: Way) -> Measured:
    """Everybody holds up a leave, each at moments of their own; nobody ever leaves."""
    played = stage(f"{seed} beats {beats.participants}", way, SERVERS)
    world = played.world
    world.transcript.mute("event", "refused")
    world.auth_trace.keep_allowed = False
    world.watch_requests = False
    people = [world.user(f"p{number}", on=SERVERS[number % 3]) for number in range(beats.participants)]
    room_id = people[0].create_room()
    for person in people[1:]:
        person.join(room_id, "hs1")
    world.settle()
    asked_for = 0

    def count(exchange: Exchange) -> None:
        nonlocal asked_for
        if exchange.is_federation and any(word in exchange.path for word in _QUESTIONS):
            asked_for += 1

    async def live(number: int, person: Client) -> None:
        plan = Plan(room_id=room_id, type=LEFT, content={}, delay_ms=DELAY_MS)
        await world.sleep(BEAT_MS * number / beats.participants)
        held = await put_off(person, way, plan)
        for _ in range(beats.each):
            await world.sleep(BEAT_MS)
            held = await beat(person, way, plan, held)

    world.wire.on_request.append(count)
    names = [*world.people]
    before = world.traffic(names, SERVERS), world.traffic()
    events_before = _events(world, room_id)
    works = (live(number, person) for number, person in enumerate(people))
    world.run_all(works, "the heartbeats", within_ms=1e9)
    leaked, skipped = 0, 0
    for name in SERVERS:
        view = view_of(world[name], room_id)
        for row in () if view is None else view.events:
            if row.event.type == LEFT:
                ours = row.event.sender.endswith(f":{name}")
                leaked += not ours
                skipped += name == "hs1" and row.standing is Standing.SOFT_FAILED
    in_graph = sum(len(each.waiting) for each in played.scheduled.values())
    futures = sum(scheduled_futures(server) for server in world.servers.values())
    return Measured(
        beats=beats,
        clients=world.traffic(names, SERVERS) - before[0],
        servers=world.traffic() - before[1],
        grown=_events(world, room_id) - events_before,
        asked_for=asked_for,
        leaked=leaked,
        skipped=skipped,
        waiting=in_graph + futures,
    )


_QUESTIONS = ("/get_missing_events/", "/state_ids/", "/state/", "/event/", "/backfill/")


def _events(world: World, room_id: str) -> int:
    view = view_of(world["hs1"], room_id)
    return 0 if view is None else len(view.events)
