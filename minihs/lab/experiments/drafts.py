"""Experiment: one call, told in every generation of the proposal, between servers of different profiles."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.lab.drawing import Life, Moment, draw_lives
from minihs.lab.experiments import Size
from minihs.lab.handles import C1, SCHEDULERS, Handle, Plan, U, schedule
from minihs.lab.people import V3, Client
from minihs.lab.report import Drawing, Report
from minihs.lab.wire import Traffic
from minihs.lab.world import World

QUESTION = (
    "Alice joins a call, sends heartbeats, changes her own membership once, and her client crashes. What "
    "does that cost in each generation of the proposal, what can be delegated or listed, and what goes wrong?"
)
METHOD = (
    "hs1 serves that one dialect, hs2 the merged one. Alice's membership is a state event; the future that "
    "ends it waits for 10 seconds. Heartbeats come every 5 seconds for a minute; in the middle Alice raises "
    "her hand (a new state event of her own). Where that ended the future, her client notices at the next "
    "heartbeat and schedules another. Ghost time is from the crash until hs2 hears of the end. Afterwards "
    "the client wakes up and sends one more heartbeat."
)

CALL = "org.example.call.member"
DELAY_MS = 10_000
BEAT_MS = 5_000

LISTINGS = {
    "batch": f"{V3}/futures",
    "tokens": f"{C1}/future",
    "tokens-on-send": f"{C1}/future",
    "future-id": f"{C1}/future",
    "delay-query": f"{U}/delayed_events",
    "merged": f"{C1}/delayed_events",
}
BESIDE = {"merged": ("msc4486",)}
"""Listing was moved out of the merged proposal, into one of its own."""


class Told(msgspec.Struct, kw_only=True):
    """What one telling of the story came to."""

    dialect: str
    joining: Traffic
    heartbeat_bytes: float
    heartbeats: int
    rescheduled: int
    ghost_ms: float
    pdus: int
    own_change_ends_it: bool
    delegated: list[str]
    listed: str
    cancels: bool
    late_heartbeat: str
    ending: dict[str, Any]
    life: Life
    until_ms: float


def run(seed: int, size: Size) -> Report:
    """The story in every dialect; `small` beats for 20 seconds instead of a minute."""
    report = Report(name="drafts", question=QUESTION, method=METHOD, seed=seed)
    beats = 12 if size == "full" else 4
    told = [_tell(report, seed, dialect, beats) for dialect in SCHEDULERS]
    table = report.table(
        "The same call in every draft",
        "dialect",
        "requests to join",
        "bytes to join",
        "bytes per heartbeat",
        "PDUs in all",
        "ghost time",
        "delegated",
        "listed",
        "own change ends the leave",
        "rescheduled",
        "heartbeat after the end",
        note="Bytes are heads and bodies of HTTP/1.1, both ways, between Alice's client and hs1. PDUs went "
        "from hs1 to hs2. Delegated: what somebody without Alice's access token can do.",
    )
    for one in told:
        table.add(
            one.dialect,
            one.joining.requests,
            one.joining.bytes,
            round(one.heartbeat_bytes),
            one.pdus,
            f"{one.ghost_ms / 1000:.2f} s",
            ", ".join(one.delegated) or "nothing",
            one.listed,
            "yes" if one.own_change_ends_it else "no",
            one.rescheduled,
            one.late_heartbeat,
        )
    _judge(report, {one.dialect: one for one in told})
    report.drawings.append(
        Drawing("Life of the leave in each draft", draw_lives([one.life for one in told], told[0].until_ms))
    )
    return report


def _tell(report: Report, seed: int, dialect: str, beats: int) -> Told:
    world = World(seed=f"{seed} drafts")  # the same dice for every dialect
    world.add_server("hs1", settings={"futures.dialects": [dialect, *BESIDE.get(dialect, ())]})
    world.add_server("hs2", settings={"futures.dialects": ["merged"]})
    alice, bob = world.user("alice", "hs1"), world.user("bob", "hs2")
    room_id = alice.create_room(power_level_content_override={"events": {CALL: 0}})
    bob.join(room_id, "hs1")
    world.settle()
    call = _Call(world, alice, room_id, dialect)
    pdus_before = world.traffic(["hs1"], ["hs2"]).pdus

    before = _asked(world, alice)
    call.join({"call": "on"})
    joining = _asked(world, alice) - before
    listed = _listed(alice, dialect)

    beat_bytes: list[int] = []
    own_change_ends_it = False
    for number in range(beats):
        world.advance(ms=BEAT_MS)
        if number == beats // 2:
            call.change({"call": "on", "hand": "raised"})
        before = _asked(world, alice)
        alive = call.beat()
        if alive:
            beat_bytes.append((_asked(world, alice) - before).bytes)
        else:
            own_change_ends_it = True
            call.again({"call": "on", "hand": "raised"})
    crashed_ms = world.now_ms
    world.advance(ms=2 * DELAY_MS)
    heard = [
        entry.at_ms
        for entry in world.transcript.entries
        if entry.place == "hs2" and entry.details.get("type") == CALL and entry.at_ms > crashed_ms
    ]
    ending = bob.state(room_id)[CALL, alice.user_id]["content"]
    late = call.handle.do("restart")
    told = Told(
        dialect=dialect,
        joining=joining,
        heartbeat_bytes=sum(beat_bytes) / max(1, len(beat_bytes)),
        heartbeats=len(beat_bytes),
        rescheduled=call.rescheduled,
        ghost_ms=heard[0] - crashed_ms if heard else float("inf"),
        pdus=world.traffic(["hs1"], ["hs2"]).pdus - pdus_before,
        own_change_ends_it=own_change_ends_it,
        delegated=[action for action in ("restart", "send", "cancel") if call.handle.can_delegate(action)],
        listed=listed,
        cancels=call.handle.can("cancel"),
        late_heartbeat=f"{late.status} {late.errcode or ''}".strip(),
        ending=ending,
        life=Life(dialect, (*call.moments, *(Moment(at_ms, "sent") for at_ms in heard[:1]))),
        until_ms=world.now_ms,
    )
    report.transcript += world.transcript.entries
    world.stop()
    return told


class _Call:
    """Alice's side of the call."""

    def __init__(self, world: World, alice: Client, room_id: str, dialect: str) -> None:
        self.world = world
        self.alice = alice
        self.room_id = room_id
        self.dialect = dialect
        self.rescheduled = 0
        self.moments: list[Moment] = []
        self.handle: Handle

    def join(self, content: dict[str, Any]) -> None:
        """Say that she is in the call, and that she will not be if nothing is heard of her."""
        if self.dialect != "will-expire":  # there the event itself carries its end
            self.change(content)
            content = {}
        self._schedule(content)

    def change(self, content: dict[str, Any]) -> None:
        """A new membership of her own."""
        self.alice.set_state(self.room_id, CALL, content, self.alice.user_id)

    def again(self, content: dict[str, Any]) -> None:
        """The future is gone: another one."""
        self.rescheduled += 1
        self._schedule(content if self.dialect == "will-expire" else {})

    def beat(self) -> bool:
        """A heartbeat; whether the future was still there."""
        alive = self.handle.do("restart").status == 200
        if alive:
            self.moments.append(Moment(self.world.now_ms, "restarted"))
        return alive

    def _schedule(self, content: dict[str, Any]) -> None:
        plan = Plan(
            room_id=self.room_id,
            type=CALL,
            content=content,
            state_key=self.alice.user_id,
            delay_ms=DELAY_MS,
        )
        self.handle = schedule(self.alice, plan, self.dialect)
        self.moments.append(Moment(self.world.now_ms, "scheduled" if self.rescheduled == 0 else "restarted"))


def _asked(world: World, who: Client) -> Traffic:
    return world.traffic([who.name], [who.server.name])


def _listed(alice: Client, dialect: str) -> str:
    """How many futures the dialect's listing shows; one is there."""
    path = LISTINGS.get(dialect)
    if path is None:
        return "no listing"
    found = alice.get(path)
    items = found if isinstance(found, list) else found.get("delayed_events", found.get("scheduled", []))
    return f"{len(items)} of 1"


def _judge(report: Report, told: dict[str, Told]) -> None:
    report.check(
        "in every draft hs2 hears of the end between 10 and 10.5 seconds after the last heartbeat",
        all(DELAY_MS <= one.ghost_ms <= DELAY_MS + 500 for one in told.values()),
    )
    report.check(
        "no heartbeat puts anything into the room: PDUs are joining, raising the hand, and the end",
        all(one.pdus <= 3 + one.rescheduled for one in told.values()),
    )
    enders = [one.dialect for one in told.values() if one.own_change_ends_it]
    report.check(
        "one's own new state event ends one's own leave in the drafts before delay-query "
        f"({', '.join(enders) or 'none'}), and no longer since",
        {"merged", "delay-query"}.isdisjoint(enders),
    )
    report.check(
        "a heartbeat to a future that is over is refused in every draft",
        all(not one.late_heartbeat.startswith("200") for one in told.values()),
    )
    report.check(
        "tokens, and the ID of delay-query, can be handed to somebody else; the ID of merged cannot",
        not told["merged"].delegated and "restart" in told["tokens"].delegated,
    )
