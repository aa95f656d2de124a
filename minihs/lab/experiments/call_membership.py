"""Experiment: five ways to end a call whose client has vanished, under loss, partitions and restarts."""

from __future__ import annotations

from collections.abc import Mapping

from minihs.lab.experiments import Size
from minihs.lab.experiments.call_played import Outcome, Scale, play
from minihs.lab.experiments.call_ways import (
    CALL,
    LEAVE_AFTER_MS,
    MEDIA_TIMEOUT_MS,
    PATIENCE_MS,
    WAYS,
    Heartbeats,
    Participant,
    PolledSfu,
    Resent,
    membership,
)
from minihs.lab.report import Report, percentile
from minihs.lab.world import World

QUESTION = (
    "A client vanishes in the middle of a call. How long do others see its ghost, who is thrown out though "
    "still there, and what does it cost, with each of five ways to end memberships?"
)
METHOD = (
    "Participants on three servers, a fifth of whom vanish at random moments. Meanwhile: 2 % packet loss "
    "between clients and servers; every tenth client loses its server, but not the SFU, for a minute; hs1 "
    "and hs3 are cut off from one another for a minute; hs2 is killed and comes back after 10 seconds. "
    "Ghost time is measured on every server for everybody who vanished; a false leave is a membership that "
    "ended, or expired for a reader, while its client was there. The SFU's own HTTP is computed, not sent; "
    "what it tells is followed for three participants of each server."
)

SCALES: dict[str, tuple[Scale, ...]] = {
    "small": (Scale(6, 8),),
    "full": (Scale(2, 20, calls=20), Scale(20, 20), Scale(100, 60), Scale(500, 10)),
}
DELAYS_MS = (15_000, 30_000, 60_000)
"""Delays of the leave that are compared, at this scale."""
DELAYED = {"small": Scale(6, 8), "full": Scale(100, 20)}


def run(seed: int, size: Size) -> Report:
    """All ways at all scales."""
    report = Report(name="call-membership", question=QUESTION, method=METHOD, seed=seed)
    outcomes = [outcome for scale in SCALES[size] for outcome in _all_ways(report, seed, scale)]
    ways = report.table("The ways", "way", "what happens")
    for make in WAYS:
        ways.add(make.name, make.what)
    delayed = _delays(report, seed, DELAYED[size])
    read = _open_room_list(report, seed, 100 if size == "full" else 10)
    _judge(report, outcomes, delayed, read)
    return report


def _all_ways(report: Report, seed: int, scale: Scale) -> list[Outcome]:
    table = report.table(
        scale.title,
        "way",
        "ghost p50",
        "p99",
        "worst",
        "never ended",
        "still in the room's state",
        "false leaves",
        "client requests",
        "client MB",
        "requests between servers",
        "PDUs",
        "MB between servers",
    )
    outcomes = []
    for make in WAYS:
        outcome = play(seed, scale, make(), report)
        outcomes.append(outcome)
        table.add(
            outcome.way.name,
            *_spans(outcome.ghosts_ms),
            outcome.unending,
            outcome.left,
            outcome.false_leaves,
            outcome.clients.requests,
            f"{outcome.clients.bytes / 1e6:.2f}",
            outcome.servers.requests,
            outcome.servers.pdus,
            f"{outcome.servers.bytes / 1e6:.2f}",
        )
    return outcomes


def _spans(ghosts_ms: list[float]) -> list[str]:
    return [f"{percentile(ghosts_ms, share) / 1000:.1f} s" for share in (0.5, 0.99, 1.0)]


def _delays(report: Report, seed: int, scale: Scale) -> list[Outcome]:
    """What a longer delay of the leave buys, and costs."""
    table = report.table(
        f"Heartbeats every 5 seconds and a longer delay: {scale.title}",
        "the leave is due in",
        "ghost p50",
        "p99",
        "worst",
        "false leaves",
    )
    outcomes = []
    for delay_ms in DELAYS_MS:
        outcome = play(seed, scale, Heartbeats(delay_ms))
        outcomes.append(outcome)
        table.add(f"{delay_ms // 1000} s", *_spans(outcome.ghosts_ms), outcome.false_leaves)
    return outcomes


def _open_room_list(report: Report, seed: int, rooms: int) -> dict[bool, int]:
    """What a client reads that opens a list of rooms whose last calls ended badly: bytes, when memberships
    were ended and when not."""
    table = report.table(
        f"Opening a list of {rooms} rooms whose last calls, of 5, ended badly",
        "way",
        "requests",
        "KB of call state",
        note="Futures and MSC4018 leave empty memberships; re-sent state leaves full ones, which the client "
        "must know to have expired; a polled SFU must be asked about every room, which is computed.",
    )
    read = {}
    for ended in (True, False):
        world = World(["hs1"], seed=f"{seed} list {ended}")
        world.transcript.mute("request", "event")
        people = [world.user(f"m{number}", on="hs1") for number in range(5)]
        for _ in range(rooms):
            room_id = people[0].create_room(power_level_content_override={"events": {CALL: 0}})
            for member in people[1:]:
                member.join(room_id)
            for member in people:
                content = {} if ended else membership(Participant(member))
                member.set_state(room_id, CALL, content, member.user_id)
        narrow = f'{{"room":{{"state":{{"types":["{CALL}"]}},"timeline":{{"limit":1,"types":["{CALL}"]}}}}}}'
        answer = people[0].request("GET", "/sync", query={"filter": narrow})
        read[ended] = len(answer.body)
        world.stop()
    for make in WAYS:
        ended = make not in (Resent, PolledSfu)
        table.add(make.name, 1 + rooms if make is PolledSfu else 1, f"{read[ended] / 1000:.0f}")
    return read


def _judge(report: Report, outcomes: list[Outcome], delayed: list[Outcome], read: Mapping[bool, int]) -> None:
    def of(*ways: type) -> list[Outcome]:
        return [outcome for outcome in outcomes if type(outcome.way) in ways]

    beats, delegated, resent, syncing, polled = (of(way) for way in WAYS)
    futures = (*beats, *delegated)
    _judge_ghosts(report, beats, delegated, resent, syncing, polled)
    report.check(
        "delegating to the SFU spares those who lose their homeserver for a minute, and not those whose "
        "homeserver dies",
        all(
            one.false_leaves > 0
            and abs(other.false_leaves - one.false_leaves - one.scale.cut_off) <= one.scale.cut_off / 5
            for one, other in zip(delegated, beats, strict=True)
            if one.scale.cut_off
        ),
    )
    report.check(
        "state that is sent again, and a polled SFU, throw nobody out",
        not any(one.false_leaves for one in (*resent, *polled)),
    )
    report.check(
        "futures cost other servers the joining and the leaving, twice for who is thrown out, and nothing "
        "for heartbeats",
        all(one.servers.pdus <= 1.05 * _comings_and_goings(one) for one in futures),
    )
    report.check(
        "a heartbeat takes less than 500 bytes, between a client and its own server",
        all(one.clients.bytes / one.clients.requests < 500 for one in futures),
    )
    report.check(
        "re-sent state costs other servers a multiple of the PDUs of futures",
        all(one.servers.pdus >= 2 * other.servers.pdus for one, other in zip(resent, beats, strict=True)),
    )
    report.check(
        "the sync loop takes a fraction of the requests of heartbeats",
        all(
            one.clients.requests < other.clients.requests / 2
            for one, other in zip(syncing, beats, strict=True)
        ),
    )
    largest = max(one.scale.participants for one in outcomes)
    costs = {one.way.name: one.clients.bytes for one in outcomes if one.scale.participants == largest}
    report.check(
        "in the largest call a polled SFU costs clients the most bytes",
        max(costs, key=lambda name: costs[name]) == PolledSfu.name,
    )
    brief, longer, longest = delayed
    report.check(
        "a longer delay throws fewer people out, and leaves ghosts longer: with 15 s the death of a server "
        "for 10 s throws out half of its people or more, with 30 s only those go who lose theirs for longer",
        brief.false_leaves - longer.false_leaves >= brief.scale.participants / 6
        and longer.false_leaves >= longest.false_leaves
        and longer.false_leaves <= longer.scale.cut_off
        and percentile(brief.ghosts_ms, 0.5) < percentile(longer.ghosts_ms, 0.5)
        and percentile(longer.ghosts_ms, 0.5) < percentile(longest.ghosts_ms, 0.5),
    )
    report.check(
        "where memberships were ended, a list of rooms takes about half the bytes",
        0.4 < read[True] / read[False] < 0.6,
    )


def _judge_ghosts(
    report: Report,
    beats: list[Outcome],
    delegated: list[Outcome],
    resent: list[Outcome],
    syncing: list[Outcome],
    polled: list[Outcome],
) -> None:
    futures = (*beats, *delegated)
    report.check(
        "with futures every ghost ends, on every server and in the room's state, in spite of everything",
        all(one.unending == one.left == 0 and one.ghosts_ms for one in futures),
    )
    report.check(
        "with re-sent state and a polled SFU, the room's state has all who vanished in the call for ever",
        all(one.left == one.scale.vanishing for one in (*resent, *polled)),
    )
    report.check(
        "half of the ghosts of futures and of a polled SFU are gone after 15 s, those of the sync loop "
        "within 45 s; those of re-sent state take minutes",
        all(percentile(one.ghosts_ms, 0.5) <= 15_500 for one in (*futures, *polled))
        and all(15_500 < percentile(one.ghosts_ms, 0.5) <= 45_000 for one in syncing)
        and all(percentile(one.ghosts_ms, 0.5) >= 120_000 for one in resent),
    )
    report.check(
        "delegated to the SFU they are gone soonest of the ways that tell the room",
        all(
            percentile(one.ghosts_ms, 0.5) < percentile(other.ghosts_ms, 0.5)
            for others in (beats, resent, syncing)
            for one, other in zip(delegated, others, strict=True)
        ),
    )
    report.check(
        "a ghost of futures outlasts the delay only while servers are dead or apart",
        all(
            max(one.calm_ms, default=0.0) <= delay_ms + PATIENCE_MS
            for delay_ms, of_way in ((LEAVE_AFTER_MS, beats), (MEDIA_TIMEOUT_MS, delegated))
            for one in of_way
        ),
    )


def _comings_and_goings(one: Outcome) -> int:
    """Events that everybody's joining and leaving takes, counted on the servers that are sent them."""
    scale = one.scale
    events = scale.calls * scale.participants + scale.vanishing + 2 * one.false_leaves
    return (scale.servers - 1) * events
