"""Calls as they are played: who vanishes, what goes wrong meanwhile, and how long ghosts are seen.

Used by `call_membership`; the ways are in `call_ways`.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
from twisted.internet.defer import Deferred

from minihs.lab.evidence import Watch
from minihs.lab.experiments.call_ways import (
    BEAT_MS,
    CALL,
    EXPIRES_MS,
    Call,
    CallWatch,
    Heard,
    Participant,
    PolledSfu,
    Resent,
    Way,
)
from minihs.lab.report import Report
from minihs.lab.views import view_of
from minihs.lab.wire import Traffic
from minihs.lab.world import World
from minihs.platform.entropy import SeededEntropy, fraction

SERVERS = ("hs1", "hs2", "hs3")
SHOWN, DRAWN = 20, 6
"""Participants of calls of which everything is kept, and whose graphs are drawn."""
POLL_BYTES = 300
"""Heads of one poll of the SFU, both ways; an entry of the list takes 60 more."""
ENTRY_BYTES = 60
VANISHING = slice(1, None, 5)
CUT_OFF = slice(3, None, 10)
"""Which participants of a call go without a word, and which lose their server for a minute."""


class Scale(msgspec.Struct, frozen=True):
    """How much is played: so many calls side by side, each in a room of its own."""

    participants: int
    minutes: int
    calls: int = 1

    @property
    def title(self) -> str:
        many = "" if self.calls == 1 else f"{self.calls} calls of "
        return f"{many}{self.participants} participants, {self.minutes} minutes"

    @property
    def servers(self) -> int:
        """How many each call is on."""
        return min(self.participants, len(SERVERS))

    @property
    def vanishing(self) -> int:
        return self.calls * len(range(self.participants)[VANISHING])

    @property
    def cut_off(self) -> int:
        return self.calls * len(range(self.participants)[CUT_OFF])


class Outcome(msgspec.Struct, kw_only=True):
    """One way at one scale."""

    way: Way
    scale: Scale
    ghosts_ms: list[float]
    calm_ms: list[float]
    """Those ghosts that were seen while no server was dead or cut off from another."""
    unending: int
    """Ghosts that were still seen in the end, counted on each server."""
    left: int
    """Memberships of those who had vanished that the room's state still has in the end."""
    false_leaves: int
    clients: Traffic
    servers: Traffic


def play(seed: int, scale: Scale, way: Way, report: Report | None = None) -> Outcome:
    """One way at one scale, from the first joining to the end of the calls; a call that is small enough is
    shown in the `report`."""
    world = World(seed=f"{seed} {way.name} {scale.title}", settings={"federation.retry_max_ms": 10_000})
    is_small = report is not None and scale.calls == 1 and scale.participants <= SHOWN
    world.transcript.mute("request", *(() if is_small else ("event", "refused")))
    world.auth_trace.keep_allowed = False
    world.watch_requests = False
    heard: list[Heard] = []
    world.observers.append(lambda server: CallWatch(server.name, lambda: world.now_ms, heard))
    for name in SERVERS:
        world.add_server(name)
    rooms = [_open_room(world, scale, number) for number in range(scale.calls)]
    world.settle()
    begins_ms, span_ms = world.now_ms, scale.minutes * 60_000.0
    calls = [Call(world, room_id, people, begins_ms + span_ms) for room_id, people in rooms]
    for number, call in enumerate(calls):
        _fates(f"{seed} fates {scale.participants} {number}", call.participants, begins_ms, span_ms)
        _troubles_of_clients(call, span_ms)
        way.begin(call)
    _troubles_of_servers(world, span_ms)
    watch = Watch(world, calls[0].room_id) if is_small else None
    names = [*world.people]
    before = world.traffic(names, SERVERS), world.traffic()
    lives = (_live(way, call, number) for call in calls for number in range(scale.participants))
    world.run_all(lives, way.name, within_ms=span_ms + 3_600_000)
    world.advance(ms=max(0.0, begins_ms + span_ms - world.now_ms))
    clients = world.traffic(names, SERVERS) - before[0]
    servers = world.traffic() - before[1]
    if isinstance(way, PolledSfu):
        heard += way.noticed
        clients += Traffic(
            requests=way.polls, bytes=way.polls * (POLL_BYTES + ENTRY_BYTES * scale.participants)
        )
    by_user: defaultdict[str, list[Heard]] = defaultdict(list)
    for each in heard:
        by_user[each.user_id].append(each)
    ghosts: list[float] = []
    calm: list[float] = []
    unending = false_leaves = left = 0
    for call in calls:
        left += _left_in_state(call)
        for participant in call.participants:
            of_them = by_user[participant.user_id]
            false_leaves += _false_leaves(call, participant, way, of_them)
            # Whoever is there at the end is not followed any further; whoever vanished may still be seen.
            if participant.vanishes_ms is not None:
                seen = [_ghost_ms(participant, way, server, of_them) for server in way.watched(call)]
                ended = [ms for ms in seen if ms is not None]
                ghosts += ended
                gone_ms = participant.vanishes_ms - begins_ms
                calm += [ms for ms in ended if not _is_troubled(gone_ms, gone_ms + ms, span_ms)]
                unending += seen.count(None)
    if report is not None and watch is not None:
        found = f"{len(ghosts)} ghosts, {false_leaves} false leaves"
        report.show_case(watch.ends(scale.title, way.name, found, on_page=scale.participants <= DRAWN))
    return Outcome(
        way=way,
        scale=scale,
        ghosts_ms=ghosts,
        calm_ms=calm,
        unending=unending,
        left=left,
        false_leaves=false_leaves,
        clients=clients,
        servers=servers,
    )


def _open_room(world: World, scale: Scale, call: int) -> tuple[str, list[Participant]]:
    names = [f"p{call * scale.participants + number}" for number in range(scale.participants)]
    people = [
        Participant(world.user(name, on=SERVERS[(call + number) % 3])) for number, name in enumerate(names)
    ]
    first = people[0].client
    room_id = first.create_room(power_level_content_override={"events": {CALL: 0}})
    for participant in people[1:]:
        participant.client.join(room_id, first.server.name)
    return room_id, people


async def _live(way: Way, call: Call, number: int) -> None:
    """Everybody's heart beats at moments of their own."""
    await call.world.sleep(BEAT_MS * number / len(call.participants))
    await way.live(call, call.participants[number])


def _fates(seed: str, people: list[Participant], begins_ms: float, span_ms: float) -> None:
    """Every fifth client vanishes, at the same moment whatever the way."""
    dice = SeededEntropy(seed)
    for participant in people[VANISHING]:
        participant.vanishes_ms = begins_ms + (0.2 + 0.4 * fraction(dice)) * span_ms


def _troubles_of_clients(call: Call, span_ms: float) -> None:
    """2 % of all packets are lost; every tenth client is cut off for a minute (`Scale.cut_off`)."""
    world = call.world
    for participant in call.participants:
        world.condition(participant.client.name, participant.client.server.name, loss=0.02)
    for client in [participant.client for participant in call.participants[CUT_OFF]]:
        world.clock.call_later(0.3 * span_ms, world.cut, client.name, client.server.name)
        world.clock.call_later(0.3 * span_ms + 60_000, world.heal, client.name, client.server.name)


def _troubles_of_servers(world: World, span_ms: float) -> None:
    """A partition for a minute, and a death for ten seconds, at fixed shares of the time."""
    later = world.clock.call_later
    (apart_ms, together_ms), (dies_ms, back_ms) = _troubles(span_ms)
    later(apart_ms, world.partition, ["hs1"], ["hs3"])
    later(together_ms, world.heal, "hs1", "hs3")
    later(dies_ms, world["hs2"].crash)
    later(back_ms, lambda: Deferred.fromCoroutine(world["hs2"].starting()))


def _troubles(span_ms: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """From when to when servers are apart, and one is dead."""
    return (0.5 * span_ms, 0.5 * span_ms + 60_000), (0.65 * span_ms, 0.65 * span_ms + 10_000)


def _is_troubled(from_ms: float, until_ms: float, span_ms: float) -> bool:
    """Whether something between servers was wrong at any time between two moments."""
    return any(from_ms <= ends_ms and until_ms >= begins_ms for begins_ms, ends_ms in _troubles(span_ms))


def _ghost_ms(participant: Participant, way: Way, server: str, heard: list[Heard]) -> float | None:
    """For how long a server's users went on seeing somebody who had vanished; None: to the end."""
    here = [each for each in heard if each.server == server]
    vanishes_ms = participant.vanishes_ms or 0.0
    if isinstance(way, Resent):
        return max(each.at_ms for each in here) + EXPIRES_MS - vanishes_ms
    if not here or here[-1].present:
        return None
    return max(0.0, here[-1].at_ms - vanishes_ms)


def _false_leaves(call: Call, participant: Participant, way: Way, heard: list[Heard]) -> int:
    """How often somebody's membership ended (or ran out on some server) while the client was there."""
    until_ms = call.ends_ms if participant.vanishes_ms is None else participant.vanishes_ms
    before = [each for each in heard if each.at_ms < until_ms]
    if not isinstance(way, Resent):
        return sum(each.local and not each.present for each in before)
    count = 0
    for server in call.servers:
        moments = [each.at_ms for each in before if each.server == server]
        gaps = zip(moments, [*moments[1:], until_ms], strict=True)
        count += sum(later - earlier > EXPIRES_MS for earlier, later in gaps)
    return count


def _left_in_state(call: Call) -> int:
    """How many who vanished the room's state, on hs1, still has in the call."""
    view = view_of(call.world[call.servers[0]], call.room_id)
    if view is None:
        return 0
    contents = {row.event.event_id: row.event.content for row in view.events}
    vanished = {each.user_id for each in call.participants if each.vanishes_ms is not None}
    return sum(
        bool(contents[event_id])
        for key, event_id in view.state.items()
        if key[0] == CALL and key[1] in vanished
    )
