"""What becomes of one event that is put off: deaths, leaks, state, rights. A part of `msc3277_vs_futures`."""

from __future__ import annotations

import msgspec

from minihs.lab.evidence import Watch
from minihs.lab.experiments.put_off import FOLLOWED, Held, Stage, Way, cancel, put_off, stage
from minihs.lab.handles import C1, Plan, U
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.report import Report
from minihs.lab.views import differences, view_of
from minihs.lab.world import World

LATE = "org.example.late"
KEY = "key"
DELAY_MS = 600_000


class Scene(msgspec.Struct):
    """Alice, who puts the event off, and Carol on hs1; Bob on hs2; Dora on a server that knows no MSC3277."""

    stage: Stage
    alice: Client
    bob: Client
    carol: Client
    dora: Client
    room_id: str

    @property
    def world(self) -> World:
        return self.stage.world

    def plan(self, state_key: str | None = None) -> Plan:
        """What Alice puts off."""
        return Plan(
            room_id=self.room_id, type=LATE, content={"body": "late"}, state_key=state_key, delay_ms=DELAY_MS
        )

    def standing(self, server: str) -> str:
        """What the server's database has of the event."""
        view = view_of(self.world[server], self.room_id)
        of_it = [] if view is None else [row for row in view.events if row.event.type == LATE]
        return "unknown" if view is None or not of_it else view.standing(of_it[-1].event.event_id)

    def shown(self, person: Client, held: Held | None = None) -> bool:
        """Whether somebody gets it by /sync, /messages or, where it has an ID already, by that."""
        in_sync = person.get("/sync")["rooms"]["join"][self.room_id]["timeline"]["events"]
        found = any(event["type"] == LATE for event in (*in_sync, *person.messages(self.room_id)))
        if isinstance(held, str):
            base = f"/rooms/{in_path(self.room_id)}"
            for what in ("context", "event"):
                found |= person.request("GET", f"{base}/{what}/{in_path(held)}").status == 200
        return found

    def texts(self, person: Client) -> list[str]:
        """What somebody reads of what was put off: redacted ones have no text."""
        events = person.messages(self.room_id)
        return [event["content"]["body"] for event in events if event["type"] == LATE and event["content"]]


def scene(seed: str, way: Way) -> Scene:
    """All of them in one room."""
    played = stage(seed, way, ("hs1", "hs2"), without=("hs3",))
    world = played.world
    alice, bob = world.user("alice", "hs1"), world.user("bob", "hs2")
    carol, dora = world.user("carol", "hs1"), world.user("dora", "hs3")
    room_id = bob.create_room(power_level_content_override={"events": {LATE: 0}})
    for person in (alice, carol, dora):
        person.join(room_id, "hs2")
    world.settle()
    return Scene(played, alice, bob, carol, dora, room_id)


class Death(msgspec.Struct, frozen=True):
    """The sender's server dies before the time and comes back an hour after it: what is on hs2, and when."""

    early: str
    shown_early: bool
    at_its_time: bool
    in_the_end: bool


def dies(seed: int, way: Way, spoken: bool) -> Death:
    """`spoken`: somebody on the same server says something while the event waits."""
    here = scene(f"{seed} death {way.title} {spoken}", way)
    world, begun_ms = here.world, here.world.now_ms
    world.run(put_off(here.alice, way, here.plan()))
    if spoken:
        here.carol.send(here.room_id, "meanwhile")
    world.advance(ms=begun_ms + DELAY_MS - 60_000 - world.now_ms)
    early, shown_early = here.standing("hs2"), here.shown(here.bob)
    world["hs1"].crash()
    world.advance(ms=begun_ms + DELAY_MS + 60_000 - world.now_ms)
    at_its_time = here.shown(here.bob)
    world.advance(hours=1)
    world["hs1"].start()
    world.advance(minutes=5)
    told = Death(early, shown_early, at_its_time, here.shown(here.bob))
    world.stop()
    return told


class Leak(msgspec.Struct, frozen=True):
    """Before its time: who is shown the event, and which servers have it."""

    shown: dict[str, bool]
    has_it: tuple[str, ...]


def who_knows(seed: int, way: Way) -> Leak:
    """Somebody has spoken since, and everybody looks."""
    here = scene(f"{seed} leak {way.title}", way)
    held = here.world.run(put_off(here.alice, way, here.plan()))
    here.carol.send(here.room_id, "meanwhile")
    here.world.advance(minutes=1)
    shown = {person.name: here.shown(person, held) for person in (here.carol, here.bob, here.dora)}
    has_it = tuple(name for name in here.world.servers if here.standing(name) != "unknown")
    here.world.stop()
    return Leak(shown, has_it)


class Echo(msgspec.Struct, frozen=True):
    """What another device of its sender knows of an event that waits."""

    told_after_ms: float | None
    """How soon its /sync, a long poll, told of it; None: it did not."""
    listed: bool
    """It can ask what waits, and finds it there."""
    cancelled: bool
    """It cancels with what it was told, and nobody is ever shown the event."""


def echo(report: Report, seed: int, way: Way) -> Echo:
    """Alice puts it off on one device, while another waits for news."""
    here = scene(f"{seed} echo {way.title}", way)
    world = here.world
    tablet = world.device("tablet", of="alice")
    tablet.sync()
    evidence = Watch(world, here.room_id)
    begun_ms = world.now_ms
    told: list[tuple[Held, float]] = []

    async def watch() -> None:
        answer = await tablet.call("GET", "/sync", query={"since": tablet.since, "timeout": 30_000})
        took_ms = world.now_ms - begun_ms
        joined = answer.json.get("rooms", {}).get("join", {}).get(here.room_id, {})
        events = joined.get("timeline", {}).get("events", ())
        told.extend((event["event_id"], took_ms) for event in events if event["type"] == LATE)

    world.run_all((watch(), put_off(here.alice, way, here.plan())), "the other device's /sync")
    waiting = tablet.get(f"{U}/delayed_events")["delayed_events"]
    if waiting:
        tablet.post(f"{C1}/delayed_events/{waiting[0]['delay_id']}/cancel")
    for held, _ in told:
        world.run(cancel(tablet, here.room_id, held))
    world.advance(ms=DELAY_MS + 60_000)
    known = Echo(told[0][1] if told else None, bool(waiting), not here.texts(here.bob))
    found = (
        f"{'told by /sync' if told else 'asks'}; {'cancels it' if known.cancelled else 'cannot cancel it'}"
    )
    report.show_case(evidence.ends("Another device of its sender", way.title, found, on_page=False))
    world.stop()
    return known


class StateFate(msgspec.Struct, frozen=True):
    """A state event that was put off: on which servers it is in force, and whether they agree."""

    early: tuple[str, ...]
    late: tuple[str, ...]
    differences: tuple[str, ...]
    tips: int

    @property
    def is_right(self) -> bool:
        """In force nowhere before its time, and everywhere after it."""
        return not self.early and len(self.late) == 3 and not self.differences


def state_event(report: Report, seed: int, way: Way, spoken: bool) -> StateFate:
    """`spoken`: people on two servers say something while it waits."""
    here = scene(f"{seed} state {way.title} {spoken}", way)
    here.alice.set_state(here.room_id, LATE, {"body": "now"}, KEY)
    here.world.settle()
    here.world.run(put_off(here.alice, way, here.plan(KEY)))
    if spoken:
        for person in (here.carol, here.bob):
            person.send(here.room_id, "meanwhile")
            here.world.settle()
    here.world.advance(minutes=1)
    early = _in_force(here)
    here.world.advance(ms=DELAY_MS)
    views = [view for name in here.world.servers if (view := view_of(here.world[name], here.room_id))]
    if spoken and way is FOLLOWED:
        report.show_room(
            "A state event of MSC3277 that was put off, and followed: the graph in the end", views
        )
        trace = here.world.auth_trace
        report.decisions += [each for each in trace.decisions if each.type == LATE]
    told = StateFate(early, _in_force(here), tuple(differences(views)), len(views[0].extremities))
    report.transcript += here.world.transcript.entries
    here.world.stop()
    return told


def _in_force(here: Scene) -> tuple[str, ...]:
    people = (here.alice, here.bob, here.dora)
    return tuple(
        person.server.name
        for person in people
        if person.state(here.room_id)[LATE, KEY]["content"]["body"] == "late"
    )


class Rights(msgspec.Struct, frozen=True):
    """What happens to an event that waits while its sender's place in the room changes."""

    demoted: bool
    """Shown although its sender may not send it any more."""
    cancelled_from_outside: str
    """The answer to a sender who has left the room and cancels it."""
    of_who_came_back: bool
    """Shown when its sender has left meanwhile, and come back."""


def rights(seed: int, way: Way) -> Rights:
    """Each in a world of its own."""
    here = scene(f"{seed} demoted {way.title}", way)
    here.world.run(put_off(here.alice, way, here.plan()))
    here.bob.set_power(here.room_id, events={LATE: 50})
    here.world.advance(ms=DELAY_MS + 60_000)
    demoted = here.shown(here.bob)
    here.world.stop()

    here = scene(f"{seed} outside {way.title}", way)
    held = here.world.run(put_off(here.alice, way, here.plan()))
    here.alice.leave(here.room_id)
    answer = here.world.run(cancel(here.alice, here.room_id, held))
    here.alice.join(here.room_id, "hs2")
    here.world.advance(ms=DELAY_MS + 60_000)
    came_back = here.shown(here.bob)
    here.world.stop()
    return Rights(demoted, f"{answer.status} {answer.errcode or ''}".strip(), came_back)
