"""One call in one generation of the proposal: told to its end, and cut short in the two places that hurt.

A part of `drafts`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.lab.drawing import Life, Moment
from minihs.lab.evidence import Watch
from minihs.lab.handles import C1, Handle, Plan, U, schedule
from minihs.lab.http_client import Response
from minihs.lab.people import V3, Client, Refused
from minihs.lab.report import Report
from minihs.lab.views import view_of
from minihs.lab.wire import Traffic
from minihs.lab.world import World

CALL = "org.example.call.member"
DELAY_MS = 10_000
BEAT_MS = 5_000
LONG_MS = 600_000
JOINED = {"call": "on"}
HAND_RAISED = {"call": "on", "hand": "raised"}

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
IN_ONE_REQUEST = ("will-expire", "batch")
"""Drafts in which joining and its end are one request."""


class Told(msgspec.Struct, kw_only=True):
    """What one telling of the story came to."""

    dialect: str
    joining: Traffic
    heartbeat_bytes: float
    rescheduled: int
    ghost_ms: float
    pdus: int
    own_change_ends_it: bool
    listed: str
    late_heartbeat: str
    late_leave: str
    leaves: int
    """Ends of the membership that the room has in the end; one is right."""
    life: Life
    until_ms: float


class Call:
    """Alice of hs1, which serves one dialect, in a call with Bob of hs2, which serves the merged one."""

    def __init__(self, seed: int, dialect: str) -> None:
        self.dialect = dialect
        self.world = World(seed=f"{seed} drafts")  # the same dice for every dialect
        self.world.add_server("hs1", settings={"futures.dialects": [dialect, *BESIDE.get(dialect, ())]})
        self.world.add_server("hs2", settings={"futures.dialects": ["merged"]})
        self.alice, self.bob = self.world.user("alice", "hs1"), self.world.user("bob", "hs2")
        self.room_id = self.alice.create_room(power_level_content_override={"events": {CALL: 0}})
        self.bob.join(self.room_id, "hs1")
        self.world.settle()
        self.watch = Watch(self.world, self.room_id)
        self.rescheduled = 0
        self.moments: list[Moment] = []
        self.handle: Handle

    def over(self, report: Report, chapter: str, title: str, found: str) -> None:
        """The end of this telling."""
        report.show_case(self.watch.ends(chapter, title, found))
        self.world.stop()

    def join(self) -> None:
        """Say that she is in the call, and that she will not be if nothing is heard of her."""
        if self.dialect not in IN_ONE_REQUEST:
            self.change(JOINED)
        self._schedule(JOINED)

    def change(self, content: dict[str, Any]) -> None:
        """A new membership of her own."""
        self.alice.set_state(self.room_id, CALL, content, self.alice.user_id)

    def again(self, content: dict[str, Any]) -> None:
        """The future is gone: another one."""
        self.rescheduled += 1
        self._schedule(content)

    def beat(self) -> bool:
        """A heartbeat; whether the future was still there."""
        alive = self.handle.do("restart").status == 200
        if alive:
            self.moments.append(Moment(self.world.now_ms, "restarted"))
        return alive

    def asked(self) -> Traffic:
        """Between Alice's client and her server so far."""
        return self.world.traffic([self.alice.name], ["hs1"])

    def listed(self) -> str:
        """How many futures the dialect's listing shows; one is there."""
        path = LISTINGS.get(self.dialect)
        if path is None:
            return "no listing"
        found = self.alice.get(path)
        items = found if isinstance(found, list) else found.get("delayed_events", found.get("scheduled", []))
        return f"{len(items)} of 1"

    def ends(self) -> list[Any]:
        """The events on hs2 by which Alice's membership ended."""
        view = view_of(self.world["hs2"], self.room_id)
        events = [] if view is None else [row.event for row in view.events if row.event.type == CALL]
        return [event for event in events if _is_end(event.content)]

    def bob_sees_her(self) -> bool:
        """Whether Alice is in the call for Bob."""
        return not _is_end(self.bob.state(self.room_id)[CALL, self.alice.user_id]["content"])

    def plan(self, who: Client, content: dict[str, Any]) -> Plan:
        """The end of somebody's membership; `content` is the membership itself, where the draft needs it."""
        expires = self.dialect == "will-expire"  # there the event itself carries its end
        return Plan(
            room_id=self.room_id,
            type=CALL,
            content=content if expires else {},
            state_key=who.user_id,
            delay_ms=DELAY_MS,
            now=content if self.dialect == "batch" else None,
        )

    def _schedule(self, content: dict[str, Any]) -> None:
        self.handle = schedule(self.alice, self.plan(self.alice, content), self.dialect)
        self.moments.append(Moment(self.world.now_ms, "scheduled" if self.rescheduled == 0 else "restarted"))


def _is_end(content: Any) -> bool:
    return not content or content.get("m.will_expire") in ("expired", "ended")


def answer(response: Response) -> str:
    """Status and errcode."""
    return f"{response.status} {response.errcode or ''}".strip()


def tell(report: Report, seed: int, dialect: str, beats: int) -> Told:
    """The whole story, to the client that wakes up when all is over."""
    call = Call(seed, dialect)
    world = call.world
    pdus_before = world.traffic(["hs1"], ["hs2"]).pdus
    before = call.asked()
    call.watch.say("alice joins the call")
    call.join()
    joining = call.asked() - before
    listed = call.listed()
    beat_bytes: list[int] = []
    own_change_ends_it = False
    for number in range(beats):
        world.advance(ms=BEAT_MS)
        if number == beats // 2:
            call.watch.say("alice raises her hand")
            call.change(HAND_RAISED)
        before = call.asked()
        if call.beat():
            beat_bytes.append((call.asked() - before).bytes)
        else:
            own_change_ends_it = True
            call.watch.say("her leave is gone: alice schedules another")
            call.again(HAND_RAISED)
    crashed_ms = world.now_ms
    call.watch.say("alice's client crashes")
    world.advance(ms=2 * DELAY_MS)
    heard = [
        entry.at_ms
        for entry in world.transcript.entries
        if entry.place == "hs2" and entry.details.get("type") == CALL and entry.at_ms > crashed_ms
    ]
    call.watch.say("it wakes up, and sends one more heartbeat, and its leave")
    late_heartbeat, late_leave = call.handle.do("restart"), call.handle.do("send")
    world.settle()
    told = Told(
        dialect=dialect,
        joining=joining,
        heartbeat_bytes=sum(beat_bytes) / max(1, len(beat_bytes)),
        rescheduled=call.rescheduled,
        ghost_ms=heard[0] - crashed_ms if heard else float("inf"),
        pdus=world.traffic(["hs1"], ["hs2"]).pdus - pdus_before,
        own_change_ends_it=own_change_ends_it,
        listed=listed,
        late_heartbeat=answer(late_heartbeat),
        late_leave=answer(late_leave),
        leaves=len(call.ends()),
        life=Life(dialect, (*call.moments, *(Moment(at_ms, "sent") for at_ms in heard[:1]))),
        until_ms=world.now_ms,
    )
    found = f"hs2 hears of her end {told.ghost_ms / 1000:.2f} s after the crash"
    call.over(report, "The whole call", dialect, found)
    return told


def _found(ghost: bool) -> str:
    return "a ghost after ten minutes" if ghost else "gone"


def ghost_after_raising_hand(report: Report, seed: int, dialect: str) -> bool:
    """Whether Bob still sees Alice ten minutes after she raised her hand and crashed at once."""
    call = Call(seed, dialect)
    call.join()
    call.world.advance(ms=BEAT_MS)
    call.watch.say("alice raises her hand, and her client crashes")
    call.change(HAND_RAISED)
    call.world.advance(ms=LONG_MS)
    seen = call.bob_sees_her()
    call.over(report, "A crash right after raising the hand", dialect, _found(seen))
    return seen


def ghost_after_one_request(report: Report, seed: int, dialect: str) -> bool:
    """Whether Bob still sees Alice ten minutes after her client crashed with one request of joining sent."""
    call = Call(seed, dialect)
    if dialect in IN_ONE_REQUEST:
        call.join()
    else:
        call.change(JOINED)
    call.watch.say("alice's client crashes")
    call.world.advance(ms=LONG_MS)
    seen = call.bob_sees_her()
    call.over(report, "A crash with one request of joining sent", dialect, _found(seen))
    return seen


def delegated(report: Report, seed: int, dialect: str) -> list[str]:
    """What an SFU can do that knows what Alice's client knows, but for her access token; each is tried."""
    done = []
    for action in ("restart", "send", "cancel"):
        call = Call(seed, dialect)
        call.join()
        command = call.handle.commands.get(action)
        if command is not None:
            sfu = call.world.people.get("sfu") or call.world.person("sfu", on="hs1")
            response = call.world.run(
                sfu.call(command.method, command.path, json=command.body, as_nobody=True), action
            )
            if response.status == 200:
                done.append(action)
            chapter = "Somebody who knows what Alice's client knows"
            call.over(report, chapter, f"{dialect}, {action}", answer(response))
    return done


def elsewhere(report: Report, seed: int, dialect: str) -> str:
    """What hs2, which serves the merged dialect alone, says to the same request by Bob."""
    call = Call(seed, dialect)
    call.bob.set_state(call.room_id, CALL, JOINED, call.bob.user_id)
    try:
        schedule(call.bob, call.plan(call.bob, JOINED), dialect)
        said = "200"
    except Refused as refused:
        said = answer(refused.response)
    except KeyError:
        said = "taken for something else"
    in_call = bool(call.bob.state(call.room_id)[CALL, call.bob.user_id]["content"])
    told = said if in_call else f"{said}, and he has left"
    call.over(report, "Bob asks his server in Alice's dialect", dialect, told)
    return told
