"""Figures of code that needs no server process: state resolution, and the laboratory's worlds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.rooms.resolution import MissingEvents, resolve
from minihs.rooms.state_map import StateMap
from tests.bench.run import Run
from tests.support.events import RoomBuilder

ITEM = "org.example.item"


async def resolution(run: Run) -> None:
    """Two forks of a room with 10,000 state events that differ in 50."""
    size = 1_000 if run.quick else 10_000
    for version in ("11", "12"):
        room = _large_room(size, version)
        for what, limit_ms, forks in (
            ("ordinary state differs", 50, _ordinary(room)),
            ("rights differ, too", 100, _with_rights(room)),
        ):
            spent_ms = _timed_ms(lambda forks=forks, room=room: _resolved(forks, room), run.quick)
            run.results.report(
                f"resolution of 50 in {size:,}, version {version}: {what}",
                f"{spent_ms:.1f} ms",
                target=f"< {limit_ms} ms",
                reached=spent_ms < limit_ms,
            )


def _large_room(size: int, version: str) -> RoomBuilder:
    """A room of ten people, with a history of power levels and so many state events."""
    powers = {f"@user{number}:hs1": 50 for number in range(10)}
    if version == "11":
        powers["@alice:hs1"] = 100
    room = RoomBuilder.create("@alice:hs1", version=version, power_levels={"users": powers})
    for user in powers:
        if user != "@alice:hs1":
            room.join(user)
    for number in range(20):
        room.state_event(
            "@alice:hs1",
            "m.room.power_levels",
            "",
            {"users": powers, "events": {f"org.example.{number}": 50}},
        )
    for number in range(size - len(room.state)):
        room.state_event(f"@user{number % 10}:hs1", ITEM, str(number), {"number": number})
    return room


Forks = tuple[StateMap, StateMap]


def _fork(room: RoomBuilder, changes: list[tuple[str, str, str, Mapping[str, object]]]) -> StateMap:
    """The room's state with events of (sender, type, state key, content) set, one after the other."""
    state: dict[StateKey, Event] = dict(room.state)
    ids = StateMap.of({key: event.event_id for key, event in state.items()})
    for sender, event_type, state_key, content in changes:
        event = room.make(sender, event_type, content, state_key, state=state)
        room.events[event.event_id] = event
        state[event.key] = event
        ids = ids.set(event.key, event.event_id)
    return ids


def _ordinary(room: RoomBuilder) -> Forks:
    """Both sides have set the same 50 keys."""

    def side(name: str) -> StateMap:
        return _fork(
            room,
            [(f"@user{number % 10}:hs1", ITEM, str(number), {"side": name}) for number in range(50)],
        )

    return side("left"), side("right")


def _with_rights(room: RoomBuilder) -> Forks:
    """Both sides have changed power levels, and one has thrown somebody out, beside 45 ordinary keys."""

    def side(name: str, power: int, out: list[str]) -> StateMap:
        levels = dict(room.state["m.room.power_levels", ""].content)
        users = {**levels["users"], "@user9:hs1": power}
        changes: list[tuple[str, str, str, Mapping[str, object]]] = [
            ("@alice:hs1", "m.room.power_levels", "", {**levels, "users": users})
        ]
        changes += [("@alice:hs1", "m.room.member", user, {"membership": "ban"}) for user in out]
        changes += [(f"@user{n % 7}:hs1", ITEM, str(n), {"side": name}) for n in range(45)]
        return _fork(room, changes)

    return side("left", 10, ["@user8:hs1"]), side("right", 20, [])


def _resolved(forks: Forks, room: RoomBuilder) -> StateMap:
    """As the room service does it: what is missing is looked up with its auth chain, and asked again."""
    events: dict[EventID, Event] = {}
    while True:
        try:
            return resolve(forks, events, room.version)
        except MissingEvents as missing:
            to_visit = list(missing.ids)
        while to_visit:
            event = room.events[to_visit.pop()]
            if event.event_id not in events:
                events[event.event_id] = event
                to_visit.extend(event.auth_events)


def _timed_ms(work: Callable[[], object], quick: bool) -> float:
    """The median of some repetitions, in processor time."""
    times = []
    for _ in range(3 if quick else 9):
        before = time.process_time()
        work()
        times.append((time.process_time() - before) * 1000)
    return median(times)


async def lab(run: Run) -> None:
    """The laboratory: a world of two servers, a day and a week in it, an hour of a call of 100."""
    # Here, so that benchmarks of processes do not carry it.
    from minihs.lab import World
    from minihs.lab.handles import Plan, schedule

    def world(number: int) -> World:
        made = World(["hs1", "hs2"], seed=number)
        made.settle()
        return made

    world(0)  # what is imported on first use
    times = []
    for number in range(1, 6):
        started = time.perf_counter()
        world(number)
        times.append((time.perf_counter() - started) * 1000)
    ready_ms = median(times)
    run.results.report(
        "a world of two servers is ready", f"{ready_ms:.0f} ms", target="< 150 ms", reached=ready_ms < 150
    )

    started = time.perf_counter()
    days = World(["hs1", "hs2"], seed=1)
    alice, bob = days.user("alice", on="hs1"), days.user("bob", on="hs2")
    room_id = alice.create_room()
    bob.join(room_id, "hs1")
    content = {"msgtype": "m.text", "body": "tomorrow"}
    plan = Plan(room_id=room_id, type="m.room.message", state_key=None, content=content, delay_ms=86_400_000)
    schedule(alice, plan)
    days.advance(hours=25)
    if "tomorrow" not in bob.bodies(room_id):
        raise RuntimeError("the future of the next day was not seen")
    days.advance(hours=7 * 24)
    seconds = time.perf_counter() - started
    run.results.report(
        "two servers, a future in 24 h, 7 days of retention",
        f"{seconds:.2f} s",
        target="< 1 s",
        reached=seconds < 1,
    )

    from minihs.lab.experiments.call_played import Scale, play
    from minihs.lab.experiments.call_ways import Heartbeats

    scale = Scale(20, 10) if run.quick else Scale(100, 60)
    started = time.perf_counter()
    outcome = play(1, scale, Heartbeats())
    seconds = time.perf_counter() - started
    run.results.report(
        f"call-membership, {scale.participants} participants, {scale.minutes} minutes, heartbeats",
        f"{seconds:.0f} s, {outcome.clients.requests:,} requests",
        target="< 60 s",
        reached=None if run.quick else seconds < 60,
    )
