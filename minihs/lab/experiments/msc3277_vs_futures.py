"""Experiment: scheduled messages in the graph from the start (MSC3277) against futures, row by row.

MSC3277 is played on whole servers: the event is made and signed when it is scheduled, stands in the graph of
its sender's server, and is not sent to others before its time; it is cancelled by a redaction, and a
heartbeat redacts it and sends another.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from minihs.events import canonical
from minihs.events.event import Event
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.lab.experiments import Size
from minihs.lab.handles import Handle, Plan, scheduling
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.report import Report, per
from minihs.lab.servers import LabServer
from minihs.lab.views import view_of
from minihs.lab.wire import Traffic
from minihs.lab.world import World
from minihs.rooms.auth import Refused
from minihs.store.writer import Batch

QUESTION = (
    "What does it cost to put a scheduled event into the graph when it is scheduled (MSC3277), and what does "
    "it give away, compared with keeping it beside the graph until it is sent?"
)
METHOD = (
    "Participants on three servers, each with a leave that is due in 15 seconds and held up by a heartbeat "
    "every 5 seconds. With futures a heartbeat restarts a timer. With MSC3277 it redacts the scheduled event "
    "and sends another; others get scheduled events at their time, re-authorised then, and redactions at "
    "once. Then: the sender's server dies before the time, while somebody else has spoken since, and while "
    "nobody has."
)

LEFT = "org.example.call.left"
AT = "org.example.scheduled_at"
"""Marks a scheduled event, for want of a field beside the content; in wall time of its server."""
DELAY_MS = 15_000
BEAT_MS = 5_000
SERVERS = ("hs1", "hs2", "hs3")


class Withholding:
    """MSC3277 on one server: an event that is scheduled stays here until its time, also across restarts.

    `pending` is the server's list of them, which outlives its process.
    """

    def __init__(self, server: LabServer, pending: dict[str, Event]) -> None:
        self._server = server
        self.pending = pending
        for event in list(pending.values()):
            self._arm(event)

    def event_queued(self, event: Event, batch: Batch) -> None:
        """Take the row away by which other servers would get it."""
        if AT in event.content and event.sender.endswith(f":{self._server.name}"):
            batch.statements = [
                (sql, params)
                for sql, params in batch.statements
                if not sql.startswith("INSERT INTO outbound_events")
            ]

    def event_committed(self, committed: CommittedEvent) -> None:
        event = committed.event
        if event.redacts is not None:
            self.pending.pop(event.redacts, None)
        if committed.local and AT in event.content:
            self.pending[event.event_id] = event
            self._arm(event)

    def event_failed(self, event: Event) -> None:
        """Nothing was scheduled."""

    def _arm(self, event: Event) -> None:
        clock = self._server.clock
        clock.call_later(max(0, event.content[AT] - clock.wall_ms()), self._due, event)

    def _due(self, event: Event) -> None:
        if self.pending.pop(event.event_id, None) is not None:
            Deferred.fromCoroutine(self._relay(event))

    async def _relay(self, event: Event) -> None:
        parts = self._server.parts
        rooms = parts.room_service.rooms
        draft = EventDraft(
            room_id=event.room_id, sender=event.sender, type=event.type, content=dict(event.content)
        )
        if isinstance((await rooms.judged(draft)).verdict, Refused):
            return
        body = {
            "origin": self._server.name,
            "origin_server_ts": self._server.clock.wall_ms(),
            "pdus": [dict(event.pdu)],
        }
        for server in await rooms.joined_servers(event.room_id):
            if server != self._server.name:
                txn_id = f"at{event.event_id[1:]}"
                await parts.federation.client.put(
                    server,
                    f"/_matrix/federation/v1/send/{txn_id}",
                    canonical.encode(body),
                    timeout_ms=30_000,
                    max_bytes=1_000_000,
                )


class Measured(msgspec.Struct, kw_only=True):
    """One way at one size."""

    heartbeats: int
    clients: Traffic
    servers: Traffic
    grown: int
    asked_for: int
    leaked: int
    tracked: int


def run(seed: int, size: Size) -> Report:
    """Both ways at some sizes, then the death of the sender's server."""
    report = Report(name="msc3277-vs-futures", question=QUESTION, method=METHOD, seed=seed)
    sizes = ((5, 10), (20, 10)) if size == "full" else ((3, 2),)
    table = report.table(
        "Per heartbeat",
        "participants",
        "minutes",
        "way",
        "client requests",
        "client bytes",
        "PDUs between servers",
        "bytes between servers",
        "events in the graph",
        "fetched because they were missing",
        "pending events that others got early",
        "withheld events to keep track of",
        note="The last three are sums. An event got early is one that another server had before its time: it "
        "is a previous event of one that was sent, so it is asked for.",
    )
    measured: dict[bool, Measured] = {}
    for participants, minutes in sizes:
        for in_graph in (True, False):
            found = measured[in_graph] = _beat(seed, participants, minutes, in_graph)
            beats = found.heartbeats
            table.add(
                participants,
                minutes,
                "MSC3277" if in_graph else "futures",
                per(found.clients.requests, beats),
                f"{found.clients.bytes / beats:.0f}",
                per(found.servers.pdus, beats),
                f"{found.servers.bytes / beats:.0f}",
                per(found.grown, beats),
                found.asked_for,
                found.leaked,
                found.tracked,
            )
    _extrapolate(report, measured)
    deaths = _deaths(report, seed)
    _judge(report, measured, deaths)
    return report


def _world(seed: str, in_graph: bool, withholding: list[Withholding]) -> World:
    world = World(seed=seed, settings={"federation.retry_max_ms": 10_000})
    world.transcript.mute("request", "event", "refused")
    world.auth_trace.keep_allowed = False
    world.watch_requests = False

    pending: dict[str, dict[str, Event]] = {name: {} for name in SERVERS}

    def withhold(server: LabServer) -> Withholding:
        withholding.append(Withholding(server, pending[server.name]))
        return withholding[-1]

    if in_graph:
        world.observers.append(withhold)
    for name in SERVERS:
        world.add_server(name)
    return world


async def _put_into_graph(client: Client, room_id: str) -> str:
    """Schedule by MSC3277: what `?at=` would make of the request."""
    due = client.server.clock.wall_ms() + DELAY_MS
    path = f"/rooms/{in_path(room_id)}/send/{LEFT}/{client.txn()}"
    reply = await client.call("PUT", path, json={AT: due})
    return str(reply.json["event_id"])


async def _redact(client: Client, room_id: str, event_id: str) -> None:
    path = f"/rooms/{in_path(room_id)}/redact/{in_path(event_id)}/{client.txn()}"
    await client.call("PUT", path, json={})


def _beat(seed: int, participants: int, minutes: int, in_graph: bool) -> Measured:
    withholding: list[Withholding] = []
    world = _world(f"{seed} {participants}", in_graph, withholding)
    people = [world.user(f"p{number}", on=SERVERS[number % 3]) for number in range(participants)]
    room_id = people[0].create_room()
    for person in people[1:]:
        person.join(room_id, "hs1")
    world.settle()
    early: set[str] = set()
    asked_for = 0

    def count(exchange: Any) -> None:
        nonlocal asked_for
        if "/get_missing_events/" in exchange.path or "/state_ids/" in exchange.path:
            asked_for += 1

    world.wire.on_request.append(count)

    async def live(person: Client) -> None:
        plan = Plan(room_id=room_id, type=LEFT, content={}, delay_ms=DELAY_MS)
        held: str | Handle
        held = await _put_into_graph(person, room_id) if in_graph else await scheduling(person, plan)
        for _ in range(minutes * 60_000 // BEAT_MS):
            await world.sleep(BEAT_MS)
            if isinstance(held, Handle):
                await held.command("restart")
            else:
                another = await _put_into_graph(person, room_id)
                await _redact(person, room_id, held)
                held = another

    before = world.traffic([*world.people], SERVERS), world.traffic(), _events(world, room_id)
    world.run_all((live(person) for person in people), "the call", within_ms=1e9)
    clients = world.traffic([*world.people], SERVERS) - before[0]
    servers, grown = world.traffic() - before[1], _events(world, room_id) - before[2]
    for name in SERVERS:
        view = view_of(world[name], room_id)
        for row in () if view is None else view.events:
            if row.event.type == LEFT and not row.event.sender.endswith(f":{name}"):
                early.add(row.event.event_id)
    tracked = sum(len(each.pending) for each in withholding)
    return Measured(
        heartbeats=participants * minutes * 60_000 // BEAT_MS,
        clients=clients,
        servers=servers,
        grown=grown,
        asked_for=asked_for,
        leaked=len(early),
        tracked=tracked,
    )


def _events(world: World, room_id: str) -> int:
    view = view_of(world["hs1"], room_id)
    return 0 if view is None else len(view.events)


def _extrapolate(report: Report, measured: dict[bool, Measured]) -> None:
    table = report.table(
        "100 participants, one hour, a heartbeat every 5 seconds (72,000), from the rates above",
        "way",
        "client MB",
        "PDUs between servers",
        "MB between servers",
        "events in the graph",
    )
    for in_graph, found in measured.items():
        share = 72_000 / found.heartbeats
        table.add(
            "MSC3277" if in_graph else "futures",
            f"{found.clients.bytes * share / 1e6:.0f}",
            round(found.servers.pdus * share),
            f"{found.servers.bytes * share / 1e6:.0f}",
            round(found.grown * share),
        )


def _deaths(report: Report, seed: int) -> dict[tuple[bool, bool], tuple[str, str]]:
    """Alice's server dies before the time; with and without somebody's having spoken since."""
    table = report.table(
        "The sender's server dies before the time, and comes back an hour later",
        "way",
        "somebody spoke since",
        "hs2 has the event before its time",
        "hs2 has it at its time",
        "hs2 has it when the server is back",
    )
    found: dict[tuple[bool, bool], tuple[str, str]] = {}
    for in_graph in (True, False):
        for spoken in (False, True):
            world = _world(f"{seed} death {spoken}", in_graph, [])
            alice, bob = world.user("alice", "hs1"), world.user("bob", "hs2")
            carol = world.user("carol", "hs1")
            room_id = alice.create_room()
            for person in (bob, carol):
                person.join(room_id, "hs1")
            world.settle()
            if in_graph:
                world.run(_put_into_graph(alice, room_id))
            else:
                plan = Plan(room_id=room_id, type=LEFT, content={}, delay_ms=DELAY_MS)
                world.run(scheduling(alice, plan))
            if spoken:
                carol.send(room_id, "meanwhile")
            world.advance(seconds=5)
            before = _has(world, room_id)
            world["hs1"].crash()
            world.advance(seconds=15)
            at_its_time = _has(world, room_id)
            world.advance(hours=1)
            world["hs1"].start()
            world.advance(minutes=5)
            after = _has(world, room_id)
            found[in_graph, spoken] = (before, after)
            table.add(
                "MSC3277" if in_graph else "futures",
                "yes" if spoken else "no",
                before,
                at_its_time,
                after,
            )
    return found


def _has(world: World, room_id: str) -> str:
    view = view_of(world["hs2"], room_id)
    return "no" if view is None or all(row.event.type != LEFT for row in view.events) else "yes"


def _judge(
    report: Report,
    measured: dict[bool, Measured],
    deaths: dict[tuple[bool, bool], tuple[str, str]],
) -> None:
    graph, futures = measured[True], measured[False]
    report.check(
        "a heartbeat of futures puts nothing into the graph and sends nothing to other servers; one of "
        "MSC3277 puts two events there and sends a PDU to each of the others",
        (futures.grown, futures.servers.pdus) == (0, 0)
        and graph.grown >= 2 * graph.heartbeats * 0.95
        and graph.servers.pdus >= 2 * graph.heartbeats * 0.95,
    )
    report.check(
        "whatever is sent after a pending event of MSC3277 names it, so other servers ask for it and get it "
        "before its time; nobody hears of a pending future",
        graph.leaked > 0 and graph.asked_for > 0 and futures.leaked == 0 and futures.asked_for == 0,
    )
    report.check(
        "when the sender's server dies, a future waits for it; so does MSC3277, unless the event has leaked",
        deaths[False, False][0] == deaths[False, True][0] == deaths[True, False][0] == "no"
        and deaths[True, True][0] == "yes",
    )
    report.check(
        "both are sent in any case once the server is back",
        all(after == "yes" for _, after in deaths.values()),
    )
