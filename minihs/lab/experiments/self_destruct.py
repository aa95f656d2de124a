"""Experiment: a message that is to disappear: a redaction as a future, against self-destruction (MSC2228).

Here it is to go at a time; `self_destruct_receipts` has those that go when they have been read, and
`self_destruct_edits` those whose end is moved.
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.lab.experiments import Size
from minihs.lab.experiments.self_destruct_edits import judge_edits, play_edits
from minihs.lab.experiments.self_destruct_receipts import judge_receipts, play_receipts
from minihs.lab.experiments.self_destruct_scene import CUT_OFF, HOUR_MS, OLD, SERVERS, SLOW, SLOW_MS, scene
from minihs.lab.handles import Plan, schedule
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.proposals.msc2228 import AFTER, REDACTION, SYNTHETIC
from minihs.lab.report import Report
from minihs.lab.views import RoomView, view_of
from minihs.lab.world import World

QUESTION = (
    "A message is to disappear after an hour, or a minute after it was read. Who still sees it, and for how "
    "long, when its redaction is a future, and when every server hides it on its own (MSC2228)? What if it "
    "is edited meanwhile? What stays in the room afterwards?"
)
METHOD = (
    "A room on five servers: hs1 with the sender; hs2; hs3, cut off from everybody from a minute before the "
    "moment until an hour after it; hs4, whose clock is five minutes slow; hs5, which does not know MSC2228. "
    "Played with hs1 up, and with hs1 dead from a minute before the moment until an hour after it. MSC2228 "
    "runs as server code: when the server's own clock has passed `m.self_destruct_after`, it redacts the "
    "event by a synthetic redaction for its own users, which is in nobody's graph; what carries "
    "`m.self_destruct` it redacts for each reader so long after their receipt; an edit replaces both."
)

LATER_MS = 1_800_000
"""How long everybody may still hear of it, once all is well again."""


class Way(msgspec.Struct, frozen=True):
    """How the text is to go."""

    title: str
    by_future: bool
    by_itself: bool


FUTURE = Way("redaction as a future", by_future=True, by_itself=False)
MSC2228 = Way("MSC2228", by_future=False, by_itself=True)
BOTH = Way("both", by_future=True, by_itself=True)
WAYS = (FUTURE, MSC2228, BOTH)


class Played(msgspec.Struct, kw_only=True):
    """One telling."""

    seen_ms: dict[str, float | None]
    """Until when each server showed the text, counted from the moment; None: for ever."""
    left: dict[str, Any]
    """What a client on hs2 is given of the event afterwards."""
    told: dict[str, Any]
    """The redaction as a client on hs2 is given it."""
    in_graph: dict[str, int]
    """Redactions in each server's graph: what the next event follows, directly or not."""
    foretold: list[str]
    """Whose users could read beforehand that the text would go."""


def run(seed: int, size: Size) -> Report:  # noqa: ARG001 - it has one size
    """All ways, with the sender's server up and down."""
    report = Report(name="self-destruct", question=QUESTION, method=METHOD, seed=seed)
    table = report.table(
        "How long the text was seen after it should have gone", "sender's server", "way", *SERVERS
    )
    played: dict[tuple[Way, bool], Played] = {}
    for dead in (False, True):
        for way in WAYS:
            told = played[way, dead] = _play(report, seed, way, dead)
            spans = (_span(told.seen_ms[name]) for name in SERVERS)
            table.add("dead" if dead else "up", way.title, *spans)
    left = report.table(
        "What stays, on hs2, when everything went well",
        "way",
        "of the event",
        "the redaction that clients get",
        "redactions in the graph",
        "who knew beforehand",
    )
    for way in WAYS:
        told = played[way, False]
        left.add(
            way.title,
            ", ".join(sorted(told.left)),
            "synthetic" if told.told.get("content", {}).get(SYNTHETIC) else f"by {told.told.get('sender')}",
            told.in_graph["hs2"],
            ", ".join(told.foretold) or "nobody",
        )
    read, edited = play_receipts(report, seed), play_edits(report, seed)
    _judge(report, played)
    judge_receipts(report, read)
    judge_edits(report, edited)
    return report


def _play(report: Report, seed: int, way: Way, dead: bool) -> Played:
    homes = {f"user{name[2:]}": name for name in SERVERS}
    here = scene(f"{seed} {way.title} {dead}", homes, by_itself=way.by_itself)
    world, room_id = here.world, here.room_id
    people = {person.server.name: person for person in here.people.values()}
    sender = people["hs1"]
    before = _views(world, room_id)

    content: dict[str, Any] = {"msgtype": "m.text", "body": "for an hour"}
    due_ms = world.now_ms + HOUR_MS
    if way.by_itself:
        content[AFTER] = world["hs1"].clock.wall_ms() + HOUR_MS
    event_id = sender.send_event(room_id, "m.room.message", content)
    if way.by_future:
        redacts = {"redacts": event_id}
        delay_ms = int(due_ms - world.now_ms)
        schedule(sender, Plan(room_id=room_id, type=REDACTION, content=redacts, delay_ms=delay_ms))
    world.settle()
    foretold = [name for name in SERVERS if AFTER in _event(people[name], room_id, event_id)["content"]]
    world.advance(ms=due_ms - 60_000 - world.now_ms)
    here.cut_off()
    if dead:
        world["hs1"].crash()
    world.advance(ms=due_ms + HOUR_MS - world.now_ms)
    if dead:
        world["hs1"].start()
    world.heal()
    world.advance(ms=LATER_MS)

    hidden: dict[str, float] = {}
    for entry in world.transcript.entries:
        if entry.kind == "event" and entry.details.get("type") == REDACTION:
            hidden.setdefault(entry.place, entry.at_ms)
    for name in SERVERS:
        if bool(_event(people[name], room_id, event_id)["content"]) is not (name not in hidden):
            raise RuntimeError(f"{name} shows the text although it heard of the redaction, or does not")
    told = [event for event in people["hs2"].messages(room_id) if event["type"] == REDACTION]
    views = _views(world, room_id)
    people["hs2"].send(room_id, "afterwards")
    world.settle()
    if way is BOTH and not dead:
        title = "Both ways, in the end: hs2 has a synthetic redaction beside the graph, hs5 only the real one"
        shown = [view for view in views if view.server in ("hs2", OLD)]
        report.show_room(title, shown, before=before)
        report.show_exchange(world, views, "Both ways, nobody dead: traffic between servers")
    report.transcript += world.transcript.entries
    left = {
        key: value for key, value in _event(people["hs2"], room_id, event_id).items() if key != "unsigned"
    }
    found = Played(
        seen_ms={name: hidden[name] - due_ms if name in hidden else None for name in SERVERS},
        left=left,
        told=told[-1] if told else {},
        in_graph={name: _redactions_followed(world, name, room_id) for name in SERVERS},
        foretold=foretold,
    )
    world.stop()
    return found


def _views(world: World, room_id: str) -> list[RoomView]:
    return [view for name in SERVERS if (view := view_of(world[name], room_id)) is not None]


def _event(person: Client, room_id: str, event_id: str) -> dict[str, Any]:
    found: dict[str, Any] = person.get(f"/rooms/{in_path(room_id)}/event/{in_path(event_id)}")
    return found


def _redactions_followed(world: World, name: str, room_id: str) -> int:
    """How many redactions the tips of the graph stand on."""
    view = view_of(world[name], room_id)
    if view is None:
        return 0
    events = {row.event.event_id: row.event for row in view.events}
    reached: set[str] = set()
    to_visit = list(view.extremities)
    while to_visit:
        event_id = to_visit.pop()
        if event_id in events and event_id not in reached:
            reached.add(event_id)
            to_visit += events[event_id].prev_events
    return sum(event.type == REDACTION for event in events.values() if event.event_id in reached)


def _span(ms: float | None) -> str:
    if ms is None:
        return "for ever"
    if abs(ms) < 1_000:
        return "gone at once"
    return f"{ms / 60_000:.1f} min"


def _judge(report: Report, played: dict[tuple[Way, bool], Played]) -> None:
    def seen(way: Way, dead: bool, name: str) -> float:
        found = played[way, dead].seen_ms[name]
        return float("inf") if found is None else found

    deaths = (False, True)
    report.check(
        "a redaction that is a future takes the text away on every server in the end, old releases included",
        all(seen(FUTURE, dead, name) < float("inf") for dead in deaths for name in SERVERS),
    )
    report.check(
        "with the future, a server that is cut off, or the sender's own being dead, keeps the text visible "
        "until it is back",
        seen(FUTURE, False, CUT_OFF) >= HOUR_MS and seen(FUTURE, True, "hs2") >= HOUR_MS,
    )
    report.check(
        "with MSC2228 every server that knows it hides the text on its own, whatever the network does",
        all(seen(MSC2228, dead, name) < 1_000 for dead in deaths for name in ("hs2", CUT_OFF)),
    )
    report.check(
        "with MSC2228 a slow clock shows it longer, and a server that does not know the proposal for ever",
        abs(seen(MSC2228, False, SLOW) - SLOW_MS) <= 1_000 and seen(MSC2228, False, OLD) == float("inf"),
    )
    report.check(
        "both together are on no server later than the better of the two",
        all(
            seen(BOTH, dead, name) <= min(seen(FUTURE, dead, name), seen(MSC2228, dead, name)) + 1_000
            for dead in deaths
            for name in SERVERS
        ),
    )
    report.check(
        "the future puts a redaction into the graph, MSC2228 nothing",
        set(played[FUTURE, False].in_graph.values()) == {1}
        and set(played[MSC2228, False].in_graph.values()) == {0},
    )
    report.check(
        "what stays of the event is the same in all ways: that there was one, its type, sender and time",
        all(
            {**told.left, "content": {}} == told.left
            and {*told.left} == {"content", "event_id", "origin_server_ts", "room_id", "sender", "type"}
            for told in played.values()
        ),
    )
    report.check(
        "with the future nobody knew beforehand that the text would go; MSC2228 tells everybody with it",
        played[FUTURE, False].foretold == [] and played[MSC2228, False].foretold == list(SERVERS),
    )
