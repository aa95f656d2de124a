"""Experiment: five ways to end a call whose client has vanished, under loss, partitions and restarts."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from minihs.lab.experiments import Size
from minihs.lab.experiments.call_ways import (
    BEAT_MS,
    CALL,
    EXPIRES_MS,
    MEDIA_TIMEOUT_MS,
    WAYS,
    Call,
    CallWatch,
    Heard,
    Participant,
    PolledSfu,
    Resent,
    Way,
)
from minihs.lab.report import Report, percentile
from minihs.lab.wire import Traffic
from minihs.lab.world import World
from minihs.platform.entropy import SeededEntropy, fraction

QUESTION = (
    "A client vanishes in the middle of a call. How long do others see its ghost, who is thrown out though "
    "still there, and what does it cost, with each of five ways to end memberships?"
)
METHOD = (
    "Participants on three servers, a fifth of whom vanish at random moments. Meanwhile: 2 % packet loss "
    "between clients and servers; every tenth client loses its server, but not the SFU, for a minute; hs1 "
    "and hs3 are cut off from one another for a minute; hs2 is killed and comes back after 10 seconds. "
    "Ghost time is measured on every server for everybody who vanished; a false leave is a membership that "
    "ended, or expired for a reader, while its client was there. The SFU's own HTTP is computed, not sent."
)

SERVERS = ("hs1", "hs2", "hs3")
POLL_BYTES = 300
"""Heads of one poll of the SFU, both ways; an entry of the list takes 60 more."""
ENTRY_BYTES = 60


class Scale(msgspec.Struct, frozen=True):
    """How much is played."""

    participants: int
    minutes: int


SCALES: dict[str, tuple[Scale, ...]] = {
    "small": (Scale(6, 8),),
    "full": (Scale(2, 20), Scale(20, 20), Scale(100, 60)),
}


class Outcome(msgspec.Struct, kw_only=True):
    """One way at one scale."""

    way: Way
    scale: Scale
    ghosts_ms: list[float]
    unending: int
    false_leaves: int
    clients: Traffic
    servers: Traffic


def run(seed: int, size: Size) -> Report:
    """All ways at all scales."""
    report = Report(name="call-membership", question=QUESTION, method=METHOD, seed=seed)
    outcomes: list[Outcome] = []
    for scale in SCALES[size]:
        table = report.table(
            f"{scale.participants} participants, {scale.minutes} minutes",
            "way",
            "ghost p50",
            "p99",
            "worst",
            "never ended",
            "false leaves",
            "client requests",
            "client MB",
            "PDUs between servers",
            "MB between servers",
        )
        for make in WAYS:
            outcome = play(seed, scale, make())
            outcomes.append(outcome)
            ghosts = outcome.ghosts_ms
            table.add(
                outcome.way.name,
                *(f"{percentile(ghosts, share) / 1000:.1f} s" for share in (0.5, 0.99, 1.0)),
                outcome.unending,
                outcome.false_leaves,
                outcome.clients.requests,
                f"{outcome.clients.bytes / 1e6:.2f}",
                outcome.servers.pdus,
                f"{outcome.servers.bytes / 1e6:.2f}",
            )
    ways = report.table("The ways", "way", "what happens")
    for make in WAYS:
        ways.add(make.name, make.what)
    _open_room_list(report, seed, 100 if size == "full" else 10)
    _judge(report, outcomes)
    return report


def play(seed: int, scale: Scale, way: Way) -> Outcome:
    world = World(
        seed=f"{seed} {way.name} {scale.participants}", settings={"federation.retry_max_ms": 10_000}
    )
    world.transcript.mute("request", "event", "refused")
    world.auth_trace.keep_allowed = False
    world.watch_requests = False
    heard: list[Heard] = []
    world.observers.append(lambda server: CallWatch(server.name, lambda: world.now_ms, heard))
    for name in SERVERS:
        world.add_server(name)
    people = [
        Participant(world.user(f"p{number}", on=SERVERS[number % 3])) for number in range(scale.participants)
    ]
    room_id = people[0].client.create_room(power_level_content_override={"events": {CALL: 0}})
    for participant in people[1:]:
        participant.client.join(room_id, "hs1")
    world.settle()
    begins_ms = world.now_ms
    span_ms = scale.minutes * 60_000.0
    call = Call(world, room_id, people, begins_ms + span_ms)
    _fates(seed, people, begins_ms, span_ms)
    _troubles(world, people, span_ms)
    way.begin(call)
    names = [*world.people]
    before = world.traffic(names, SERVERS), world.traffic()
    world.run_all((way.live(call, each) for each in people), way.name, within_ms=span_ms + 3_600_000)
    world.advance(ms=max(0.0, call.ends_ms - world.now_ms))
    clients = world.traffic(names, SERVERS) - before[0]
    servers = world.traffic() - before[1]
    # Whoever is there at the end is not followed any further; whoever vanished may still be seen.
    ghosts, unending = _ghosts(call, way, heard, seed)
    false_leaves = _false_leaves(call, way, heard)
    if isinstance(way, PolledSfu):
        polls = int(scale.participants * span_ms / BEAT_MS)
        clients += Traffic(requests=polls, bytes=polls * (POLL_BYTES + ENTRY_BYTES * scale.participants))
    return Outcome(
        way=way,
        scale=scale,
        ghosts_ms=ghosts,
        unending=unending,
        false_leaves=false_leaves,
        clients=clients,
        servers=servers,
    )


def _fates(seed: int, people: list[Participant], begins_ms: float, span_ms: float) -> None:
    """Every fifth client vanishes, at the same moment whatever the way."""
    dice = SeededEntropy(f"{seed} fates {len(people)}")
    for participant in people[1::5]:
        participant.vanishes_ms = begins_ms + (0.2 + 0.4 * fraction(dice)) * span_ms


def _troubles(world: World, people: list[Participant], span_ms: float) -> None:
    """What goes wrong on the way, at fixed shares of the time."""
    for participant in people:
        world.condition(participant.client.name, participant.client.server.name, loss=0.02)
    later = world.clock.call_later
    cut_off = [participant.client for participant in people[3::10]]
    for client in cut_off:
        later(0.3 * span_ms, world.cut, client.name, client.server.name)
        later(0.3 * span_ms + 60_000, world.heal, client.name, client.server.name)
    later(0.5 * span_ms, world.partition, ["hs1"], ["hs3"])
    later(0.5 * span_ms + 60_000, world.heal, "hs1", "hs3")
    later(0.65 * span_ms, world["hs2"].crash)
    later(0.65 * span_ms + 10_000, lambda: Deferred.fromCoroutine(world["hs2"].starting()))


def _ghosts(call: Call, way: Way, heard: list[Heard], seed: int) -> tuple[list[float], int]:
    """For all who vanished and every server: how long it went on seeing them; and how often for good."""
    ghosts: list[float] = []
    unending = 0
    dice = SeededEntropy(f"{seed} polls")
    for participant in call.participants:
        if participant.vanishes_ms is None:
            continue
        for server in call.servers:
            of_them = [each for each in heard if (each.server, each.user_id) == (server, participant.user_id)]
            if isinstance(way, PolledSfu):
                ghosts.append(MEDIA_TIMEOUT_MS + BEAT_MS * fraction(dice))
            elif isinstance(way, Resent):
                ghosts.append(max(each.at_ms for each in of_them) + EXPIRES_MS - participant.vanishes_ms)
            else:
                ended = [each for each in of_them if not each.present]
                last = of_them[-1] if of_them else None
                if last is None or last.present or not ended:
                    unending += 1
                else:
                    ghosts.append(max(0.0, ended[-1].at_ms - participant.vanishes_ms))
    return ghosts, unending


def _false_leaves(call: Call, way: Way, heard: list[Heard]) -> int:
    """Memberships that ended (or ran out on some server) while the client was there."""
    count = 0
    for participant in call.participants:
        until_ms = call.ends_ms if participant.vanishes_ms is None else participant.vanishes_ms
        of_them = [each for each in heard if each.user_id == participant.user_id and each.at_ms < until_ms]
        if isinstance(way, Resent):
            for server in call.servers:
                moments = [each.at_ms for each in of_them if each.server == server]
                gaps = zip(moments, [*moments[1:], until_ms], strict=True)
                count += sum(later - earlier > EXPIRES_MS for earlier, later in gaps)
        else:
            count += sum(each.local and not each.present for each in of_them)
    return count


def _open_room_list(report: Report, seed: int, rooms: int) -> None:
    """What a client reads that opens a list of rooms whose last calls ended badly."""
    table = report.table(
        f"Opening a list of {rooms} rooms whose last calls, of 5, ended badly",
        "way",
        "requests",
        "KB of call state",
        note="Futures and MSC4018 leave empty memberships; re-sent state leaves full ones, which the client "
        "must know to have expired; a polled SFU must be asked about every room.",
    )
    kilobytes = {}
    for ended in (True, False):
        world = World(["hs1"], seed=f"{seed} list {ended}")
        world.transcript.mute("request", "event")
        people = [world.user(f"m{number}", on="hs1") for number in range(5)]
        for _ in range(rooms):
            room_id = people[0].create_room(power_level_content_override={"events": {CALL: 0}})
            for member in people[1:]:
                member.join(room_id)
            for member in people:
                content: dict[str, Any] = {} if ended else {"call": "on", "expires": EXPIRES_MS}
                member.set_state(room_id, CALL, content, member.user_id)
        narrow = f'{{"room":{{"state":{{"types":["{CALL}"]}},"timeline":{{"limit":1,"types":["{CALL}"]}}}}}}'
        answer = people[0].request("GET", "/sync", query={"filter": narrow})
        kilobytes[ended] = f"{len(answer.body) / 1000:.0f}"
    for make in WAYS:
        if make is Resent:
            table.add(make.name, 1, kilobytes[False])
        elif make is PolledSfu:
            table.add(make.name, 1 + rooms, kilobytes[False])
        else:
            table.add(make.name, 1, kilobytes[True])


def _judge(report: Report, outcomes: list[Outcome]) -> None:
    def of(name: str) -> list[Outcome]:
        return [outcome for outcome in outcomes if outcome.way.name == name]

    beats, delegated, resent = (
        of("future, heartbeats"),
        of("future, delegated to the SFU"),
        of("state sent again"),
    )
    report.check(
        "with futures every ghost ends, on every server, in spite of everything",
        all(outcome.unending == 0 and outcome.ghosts_ms for outcome in (*beats, *delegated)),
    )
    report.check(
        "half of the ghosts of futures are gone after 15 s; those of re-sent state take minutes",
        all(percentile(outcome.ghosts_ms, 0.5) <= 15_500 for outcome in (*beats, *delegated))
        and all(percentile(outcome.ghosts_ms, 0.5) >= 120_000 for outcome in resent),
    )
    report.check(
        "who delegates to the SFU is not thrown out for losing the homeserver; who beats alone may be",
        all(one.false_leaves <= other.false_leaves for one, other in zip(delegated, beats, strict=True)),
    )
    report.check(
        "re-sent state costs other servers a multiple of the PDUs of futures",
        all(
            one.servers.pdus > other.servers.pdus
            for one, other in zip(resent, beats, strict=True)
            if one.scale.minutes >= 20
        ),
    )
