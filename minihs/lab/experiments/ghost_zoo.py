"""Experiment: failures of futures that were seen in the field, looked for here, and bred with a wrong policy.

Each animal is one small world, played twice: as minihs is, where it must not show, and with the decision
that lets it live, where it must, or the experiment could not have seen it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.events.ids import EventID
from minihs.homeserver.errors import LimitExceeded
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.lab.experiments import Size
from minihs.lab.handles import Handle, Plan, schedule
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.report import Report
from minihs.lab.servers import LabServer
from minihs.lab.world import World
from minihs.server import Policies
from minihs.server.policies import Charge
from minihs.store.along import Also
from minihs.store.writer import Batch, Writer

QUESTION = "Do the failures that users of delayed events reported show here, and would they if they were?"
METHOD = (
    "Each failure is a small world, played as minihs is and with the decision that causes the failure: a "
    "policy, a setting, or a wrong step around the server. It must be absent in the first and present in the "
    "second."
)

CALL = "org.example.call.member"
MINUTE_MS = 60_000


class Scene(msgspec.Struct):
    """One server (and another to watch), Alice with a room, and what became of it."""

    world: World
    alice: Client
    room_id: str

    @property
    def server(self) -> LabServer:
        """Alice's server."""
        return self.alice.server

    def later(self, body: str, delay_ms: int, dialect: str = "merged") -> Handle:
        """Alice schedules a message."""
        content = {"msgtype": "m.text", "body": body}
        plan = Plan(room_id=self.room_id, type="m.room.message", content=content, delay_ms=delay_ms)
        return schedule(self.alice, plan, dialect)

    def leaving(self, delay_ms: int, dialect: str) -> Handle:
        """Alice schedules the end of her membership in a call."""
        plan = Plan(
            room_id=self.room_id, type=CALL, content={}, state_key=self.alice.user_id, delay_ms=delay_ms
        )
        return schedule(self.alice, plan, dialect)

    def in_call(self, content: Any) -> None:
        """Alice's membership in the call."""
        self.alice.set_state(self.room_id, CALL, content, self.alice.user_id)

    def is_in_call(self) -> bool:
        """Whether the room has Alice in the call."""
        return bool(self.alice.state(self.room_id)[CALL, self.alice.user_id]["content"])


def scene(seed: int, *, policies: Policies | None = None, **settings: Any) -> Scene:
    """A world with Alice in a room."""
    world = World(
        ["hs1"],
        seed=seed,
        policies=policies,
        settings={key.replace("__", "."): value for key, value in settings.items()},
    )
    alice = world.user("alice", "hs1")
    room_id = alice.create_room(power_level_content_override={"events": {CALL: 0}})
    return Scene(world, alice, room_id)


class Animal(msgspec.Struct, frozen=True):
    """A failure. `shows(seed, wrong)` plays it and says whether it showed."""

    name: str
    reported: str
    cause: str
    shows: Callable[[int, bool], bool]


# 1. Lost on restart


def lost_on_restart(seed: int, wrong: bool) -> bool:
    here = scene(seed)
    here.later("still wanted", 60 * MINUTE_MS)
    here.server.crash()
    if wrong:  # what lived in memory only is not there any more
        for table in ("future_timers", "future_tokens", "futures"):
            here.server.database.writing.execute(f"DELETE FROM {table}")  # noqa: S608 - three constants
    here.server.start()
    here.world.advance(hours=2)
    return here.alice.bodies(here.room_id) != ["still wanted"]


# 2. Sent twice after a crash


class OutcomeAfterwards:
    """Sends the event, and only then stores that the future was sent."""

    def __init__(self, sender: EventSender, writer: Writer) -> None:
        self._sender = sender
        self._writer = writer

    async def send(self, draft: EventDraft, *, is_guest: bool = False, also: Also | None = None) -> EventID:
        if also is None or not draft.was_future:
            return await self._sender.send(draft, is_guest=is_guest, also=also)
        made: list[Event] = []
        event_id = await self._sender.send(
            draft, is_guest=is_guest, also=lambda _batch, event: made.append(event)
        )
        outcome = Batch()
        also(outcome, made[0])
        await self._writer.submit(outcome)
        return event_id


def sent_twice(seed: int, wrong: bool) -> bool:
    policies = None
    if wrong:
        policies = Policies(
            future_sender=lambda sender, _rooms, writer: cast(EventSender, OutcomeAfterwards(sender, writer))
        )
    counts = []
    for after in (False, True):
        for nth in (1, 2, 3):
            here = scene(seed, policies=policies)
            here.later("once", 5_000)
            here.world.advance(ms=4_000)
            here.server.crash_at_commit(nth, after=after)
            here.world.advance(ms=3_000)
            here.server.restart()
            here.world.advance(ms=3_000)
            counts.append(len(here.alice.bodies(here.room_id)))
    return set(counts) != {1}


# 3. Sent early after a crash


class HeartbeatsInMemory:
    """Stores everything but heartbeats."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def submit(self, batch: Batch, chain: str | None = None) -> Deferred[None]:
        kept = Batch()
        kept.statements = [
            (sql, params) for sql, params in batch.statements if not sql.startswith("UPDATE future_timers")
        ]
        return self._writer.submit(kept, chain)


def sent_early(seed: int, wrong: bool) -> bool:
    forgetful = Policies(futures_writer=lambda writer: cast(Writer, HeartbeatsInMemory(writer)))
    here = scene(seed, policies=forgetful if wrong else None)
    handle = here.later("not before 20 s", 10_000)
    for _ in range(2):
        here.world.advance(ms=5_000)
        handle.do("restart")
    started_ms = here.world.now_ms
    here.server.restart()
    here.world.advance(ms=9_000)
    early = here.alice.bodies(here.room_id) != []
    here.world.advance(ms=started_ms + 10_500 - here.world.now_ms)
    return early or here.alice.bodies(here.room_id) == []


# 4. Dropped when rate limited


def _as_any_request(charge: Charge) -> Charge:
    """Due sends share a small budget, as if each were a request of a busy client."""
    left = 20

    def charged(user_id: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LimitExceeded("Too many requests.", 1_000)
        charge(user_id)

    return charged


def dropped_by_limits(seed: int, wrong: bool) -> bool:
    policies = Policies(charge_due=_as_any_request) if wrong else None
    here = scene(seed, policies=policies, rate_limits__enabled=True)
    for number in range(60):
        here.later(str(number), 30_000)
    here.world.advance(ms=40_000)
    return len(here.alice.bodies(here.room_id)) < 60


# 5. A cancel that disarms another timer


def _one_timer_for_all(server: LabServer) -> None:
    """Cancelling anything, again or not, cancels the timer that waits for the next due time."""
    futures, scheduler = cast(Any, server.parts.futures.futures), cast(Any, server.parts.futures.scheduler)
    cancel = futures.cancel

    async def cancel_and_disarm(*args: Any) -> None:
        try:
            await cancel(*args)
        finally:
            if scheduler._timer is not None and scheduler._timer.active():
                scheduler._timer.cancel()

    # Dialects were given the method when the server was wired.
    for dialect in cast(Any, server.parts.dialects)._dialects:
        management = getattr(dialect, "_management", None)
        if management is not None:
            management._actions["cancel"] = cancel_and_disarm


def disarmed_by_another(seed: int, wrong: bool) -> bool:
    here = scene(seed)
    if wrong:
        _one_timer_for_all(here.server)
    other = here.later("cancelled", 60 * MINUTE_MS)
    here.later("must come", 8_000)
    for _ in range(2):  # the second one is redundant
        here.world.advance(ms=1_000)
        other.do("cancel")
    here.world.advance(ms=30_000)
    return here.alice.bodies(here.room_id) != ["must come"]


# 6. Many behind one address


def _charge_by_address(server: LabServer) -> None:
    """Whoever shows a delay ID is charged by the address they come from."""
    limiter = cast(Any, server.parts.limiter)
    charge = limiter.charge

    def by_address(bucket: str, key: str, cost: int = 1) -> None:
        if bucket == "futures_action":
            charge("futures_address", "the office", cost)
        else:
            charge(bucket, key, cost)

    limiter.charge = by_address


def starved_behind_one_address(seed: int, wrong: bool) -> bool:
    here = scene(
        seed,
        rate_limits__enabled=True,
        rate_limits__buckets={"futures_address": [5.0, 50], "registration": [100.0, 1000]},
    )
    if wrong:
        _charge_by_address(here.server)
    handles = []
    for number in range(60):
        member = here.world.user(f"member{number}", "hs1")
        member.join(here.room_id)
        plan = Plan(room_id=here.room_id, type=CALL, content={}, state_key=member.user_id, delay_ms=15_000)
        handles.append(schedule(member, plan, "delay-query"))
    for _ in range(12):
        here.world.advance(ms=5_000)
        for handle in handles:
            handle.do("restart", by=here.alice)  # one address for all of them
    gone = [key for key, _ in here.alice.state(here.room_id) if key == CALL]
    return bool(gone)


# 7. A laptop that sleeps past its leave


def sleeper_cannot_return(seed: int, wrong: bool) -> bool:
    here = scene(seed, futures__unstable_conflict=409 if wrong else 404)
    here.in_call({"call": "on"})
    handle = here.leaving(10_000, "delay-query")
    here.world.advance(minutes=30)  # the lid is closed
    answer = handle.do("restart")
    if answer.status == 404:  # shipped clients: the future is gone, so join anew
        here.in_call({"call": "on"})
        here.leaving(10_000, "delay-query")
    # Any other refusal they take for fatal, and give the call up.
    return not here.is_in_call()


# 8. A parameter that is ignored


def leave_at_join_time(seed: int, wrong: bool) -> bool:
    here = scene(seed, futures__dialects=["merged"])
    here.in_call({"call": "on"})
    path = f"/rooms/{in_path(here.room_id)}/state/{CALL}/{in_path(here.alice.user_id)}"
    # A server that knows no such parameter sees the same request as one that has none.
    query = None if wrong else {"org.matrix.msc4140.delay": 10_000}
    answer = here.alice.request("PUT", path, json={}, query=query)
    return answer.status == 200 and not here.is_in_call()


# 9. One's own state change


def own_change_ends_own_leave(seed: int, wrong: bool) -> bool:
    here = scene(seed, futures__cancel_rule="any" if wrong else "dialect")
    here.in_call({"call": "on"})
    here.leaving(10_000, "delay-query")
    here.world.advance(ms=2_000)
    here.in_call({"call": "on", "hand": "raised"})
    here.world.advance(ms=20_000)
    return here.is_in_call()


ZOO = (
    Animal(
        "lost on restart",
        "the server was updated, and everybody who was in a call then stayed in it",
        "futures live in memory only",
        lost_on_restart,
    ),
    Animal(
        "sent twice after a crash",
        "a scheduled message came twice",
        "the outcome is stored after the event, in a transaction of its own",
        sent_twice,
    ),
    Animal(
        "sent early after a crash",
        "people were thrown out of a call when the server came back",
        "heartbeats are in memory only",
        sent_early,
    ),
    Animal(
        "dropped by a rate limit",
        "of many messages scheduled for one moment only some came",
        "due sends are charged to a budget that is smaller than what may be scheduled",
        dropped_by_limits,
    ),
    Animal(
        "disarmed by another's cancel",
        "a redundant cancel, and the next scheduled event did not come",
        "one timer for all, cancelled with any of them",
        disarmed_by_another,
    ),
    Animal(
        "starved behind one address",
        "an office of 60 was thrown out of its call",
        "heartbeats are limited by address",
        starved_behind_one_address,
    ),
    Animal(
        "the sleeper cannot return",
        "a laptop that had slept past its leave never came back into the call",
        "the action on a finalised future is answered 409, which shipped clients take for fatal",
        sleeper_cannot_return,
    ),
    Animal(
        "left at join time",
        "everybody left the call the moment they joined it",
        "the delay is a parameter that is ignored where it is not known",
        leave_at_join_time,
    ),
    Animal(
        "own change ends own leave",
        "who had raised a hand and then lost the network stayed in the call",
        "any newer state event ends the future, also one's own",
        own_change_ends_own_leave,
    ),
)


def run(seed: int, size: Size) -> Report:  # noqa: ARG001 - the zoo has one size
    """Visit every cage."""
    report = Report(name="ghost-zoo", question=QUESTION, method=METHOD, seed=seed)
    table = report.table("The zoo", "failure", "what was reported", "cause", "here", "with that cause")
    for animal in ZOO:
        here, bred = animal.shows(seed, False), animal.shows(seed, True)
        table.add(
            animal.name,
            animal.reported,
            animal.cause,
            "SHOWS" if here else "absent",
            "shows" if bred else "NOT SEEN",
        )
        report.check(f"{animal.name}: absent here, and seen where its cause is", not here and bred)
    return report
