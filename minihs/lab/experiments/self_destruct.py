"""Experiment: a message that is to disappear: a redaction as a future, against self-destruction (MSC2228)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.lab.experiments import Size
from minihs.lab.handles import Plan, schedule
from minihs.lab.http_client import in_path
from minihs.lab.report import Report
from minihs.lab.servers import LabServer
from minihs.lab.views import view_of
from minihs.lab.world import World
from minihs.store.writer import Batch

QUESTION = (
    "A message is to disappear after an hour. Who still sees it, and for how long, when its redaction is a "
    "future, and when every server hides it on its own (MSC2228)? What stays in the room afterwards?"
)
METHOD = (
    "A room on five servers: hs1 with the sender; hs2; hs3, cut off from everybody from before the moment "
    "until an hour after it; hs4, whose clock is five minutes slow; hs5, which does not know MSC2228. Played "
    "with hs1 up, and with hs1 dead from before the moment until an hour after it. The future's redaction is "
    "real in everything. MSC2228 is played by a watcher on each server that implements it, which hides the "
    "event once that server's own clock has passed `m.self_destruct_after`, as the proposal says; nothing is "
    "sent for that."
)

HOUR_MS = 3_600_000
SERVERS = ("hs1", "hs2", "hs3", "hs4", "hs5")
AFTER = "m.self_destruct_after"


class Watcher:
    """MSC2228 on one server: hides marked events when this server's clock says so, also after a restart."""

    def __init__(
        self, server: LabServer, marked: dict[str, int], now_ms: Callable[[], float], hidden: dict[str, float]
    ) -> None:
        self._server = server
        self._marked = marked
        self._now_ms = now_ms
        self._hidden = hidden
        for event_id in marked:
            self._arm(event_id)

    def event_queued(self, event: Any, batch: Batch) -> None:
        """Not durable yet."""

    def event_committed(self, committed: CommittedEvent) -> None:
        moment = committed.event.content.get(AFTER)
        if isinstance(moment, int):
            self._marked[committed.event.event_id] = moment
            self._arm(committed.event.event_id)

    def event_failed(self, event: Any) -> None:
        """Nothing to hide."""

    def _arm(self, event_id: str) -> None:
        if self._server.name not in self._hidden:
            wait_ms = self._marked[event_id] - self._server.clock.wall_ms()
            self._server.clock.call_later(max(0, wait_ms), self._hide)

    def _hide(self) -> None:
        self._hidden.setdefault(self._server.name, self._now_ms())


class Played(msgspec.Struct):
    """One telling: until when each server showed the text, after the moment; None: for ever."""

    seen_ms: dict[str, float | None]
    left: dict[str, Any]
    redactions: int
    foretold: bool
    """Whether other servers knew beforehand that the text would go."""


def run(seed: int, size: Size) -> Report:  # noqa: ARG001 - it has one size
    """Both ways, with the sender's server up and down."""
    report = Report(name="self-destruct", question=QUESTION, method=METHOD, seed=seed)
    table = report.table(
        "How long the text was seen after it should have gone",
        "sender's server",
        "way",
        *SERVERS,
    )
    played: dict[tuple[bool, bool], Played] = {}
    for dead in (False, True):
        for by_future in (True, False):
            told = played[dead, by_future] = _play(report, seed, by_future=by_future, dead=dead)
            table.add(
                "dead" if dead else "up",
                "redaction as a future" if by_future else "MSC2228",
                *(_span(told.seen_ms[name]) for name in SERVERS),
            )
    left = report.table("What everybody can still read afterwards, on hs2", "way", "of the event", "besides")
    for by_future in (True, False):
        told = played[False, by_future]
        name = "redaction as a future" if by_future else "MSC2228"
        besides = (
            f"{told.redactions} event that says who redacted it and when" if told.redactions else "nothing"
        )
        left.add(name, ", ".join(sorted(told.left)), besides)
    _judge(report, played)
    return report


def _play(report: Report, seed: int, *, by_future: bool, dead: bool) -> Played:
    world = World(seed=f"{seed} {by_future} {dead}", settings={"federation.retry_max_ms": 30_000})
    world.transcript.mute("request")
    hidden: dict[str, float] = {}
    marked: dict[str, dict[str, int]] = {name: {} for name in SERVERS}
    if not by_future:
        world.observers.append(
            lambda server: Watcher(
                server,
                marked[server.name],
                lambda: world.now_ms,
                hidden if server.name != "hs5" else {"hs5": 0.0},
            )
        )
    for name in SERVERS:
        world.add_server(name)
    world["hs4"].set_clock(skew_ms=-300_000)
    people = {name: world.user(f"user{name[2:]}", on=name) for name in SERVERS}
    sender = people["hs1"]
    room_id = sender.create_room()
    for name in SERVERS[1:]:
        people[name].join(room_id, "hs1")
    world.settle()

    content: dict[str, Any] = {"msgtype": "m.text", "body": "for an hour"}
    due_ms = world.now_ms + HOUR_MS
    if not by_future:
        content[AFTER] = world["hs1"].clock.wall_ms() + HOUR_MS
    event_id = sender.send_event(room_id, "m.room.message", content)
    if by_future:
        plan = Plan(
            room_id=room_id,
            type="m.room.redaction",
            content={"redacts": event_id},
            delay_ms=int(due_ms - world.now_ms),
        )
        schedule(sender, plan)
    world.settle()
    path = f"/rooms/{in_path(room_id)}/event/{in_path(event_id)}"
    foretold = AFTER in people["hs2"].get(path)["content"]
    world.advance(ms=due_ms - 60_000 - world.now_ms)
    world.partition(["hs3"], [name for name in SERVERS if name != "hs3"])
    if dead:
        world["hs1"].crash()
    world.advance(ms=due_ms + HOUR_MS - world.now_ms)
    if dead:
        world["hs1"].start()
    world.heal()
    world.advance(minutes=30)
    if by_future:
        for entry in world.transcript.entries:
            if entry.kind == "event" and entry.details.get("type") == "m.room.redaction":
                hidden.setdefault(entry.place, entry.at_ms)
    told: dict[str, float | None] = {}
    for name in SERVERS:
        shown = bool(people[name].get(path)["content"])
        if by_future and shown != (name not in hidden):
            raise RuntimeError(f"{name} shows the text although it heard of the redaction, or does not")
        told[name] = hidden[name] - due_ms if name in hidden else None
    view = view_of(world["hs2"], room_id)
    redactions = 0 if view is None else sum(row.event.type == "m.room.redaction" for row in view.events)
    left = {key: value for key, value in people["hs2"].get(path).items() if key not in ("unsigned", "age")}
    if not left["content"] or not by_future:
        del left["content"]  # MSC2228 hides it from the redacted form, as a redaction would
    report.transcript += world.transcript.entries
    world.stop()
    return Played(told, left, redactions, foretold)


def _span(ms: float | None) -> str:
    if ms is None:
        return "for ever"
    if abs(ms) < 1_000:
        return "gone at once"
    return f"{ms / 60_000:.1f} min"


def _judge(report: Report, played: dict[tuple[bool, bool], Played]) -> None:
    def seen(dead: bool, by_future: bool, name: str) -> float:
        found = played[dead, by_future].seen_ms[name]
        return float("inf") if found is None else found

    report.check(
        "a redaction that is a future takes the text away on every server in the end, old releases included",
        all(seen(dead, True, name) < float("inf") for dead in (False, True) for name in SERVERS),
    )
    report.check(
        "with the future, a server that is cut off, or the sender's own being dead, keeps the text visible "
        "until it is back",
        seen(False, True, "hs3") >= HOUR_MS and seen(True, True, "hs2") >= HOUR_MS,
    )
    report.check(
        "with MSC2228 every server that knows it hides the text on its own, whatever the network does",
        all(seen(dead, False, name) < 1_000 for dead in (False, True) for name in ("hs2", "hs3")),
    )
    report.check(
        "with MSC2228 a slow clock shows it longer, and a server that does not know the proposal for ever",
        seen(False, False, "hs4") == 300_000 and seen(False, False, "hs5") == float("inf"),
    )
    report.check(
        "with the future nobody knew beforehand that the text would go; MSC2228 tells everybody with it",
        not played[False, True].foretold and played[False, False].foretold,
    )
