"""Experiment: five ways to end a call whose client has vanished, under loss, partitions and restarts."""

from __future__ import annotations

from minihs.lab.experiments import Size
from minihs.lab.experiments.call_played import Outcome, Scale, play
from minihs.lab.experiments.call_ways import (
    CALL,
    WAYS,
    Delegated,
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
    _open_room_list(report, seed, 100 if size == "full" else 10)
    _judge(report, outcomes, delayed)
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
        "PDUs between servers",
        "MB between servers",
    )
    outcomes = []
    for make in WAYS:
        outcome = play(seed, scale, make())
        outcomes.append(outcome)
        table.add(
            outcome.way.name,
            *_spans(outcome.ghosts_ms),
            outcome.unending,
            outcome.left,
            outcome.false_leaves,
            outcome.clients.requests,
            f"{outcome.clients.bytes / 1e6:.2f}",
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


def _open_room_list(report: Report, seed: int, rooms: int) -> None:
    """What a client reads that opens a list of rooms whose last calls ended badly."""
    table = report.table(
        f"Opening a list of {rooms} rooms whose last calls, of 5, ended badly",
        "way",
        "requests",
        "KB of call state",
        note="Futures and MSC4018 leave empty memberships; re-sent state leaves full ones, which the client "
        "must know to have expired; a polled SFU must be asked about every room, which is computed.",
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
                content = {} if ended else membership(Participant(member))
                member.set_state(room_id, CALL, content, member.user_id)
        narrow = f'{{"room":{{"state":{{"types":["{CALL}"]}},"timeline":{{"limit":1,"types":["{CALL}"]}}}}}}'
        answer = people[0].request("GET", "/sync", query={"filter": narrow})
        kilobytes[ended] = f"{len(answer.body) / 1000:.0f}"
        world.stop()
    for make in WAYS:
        ended = make not in (Resent, PolledSfu)
        table.add(make.name, 1 + rooms if make is PolledSfu else 1, kilobytes[ended])


def _judge(report: Report, outcomes: list[Outcome], delayed: list[Outcome]) -> None:
    def of(*ways: type) -> list[Outcome]:
        return [outcome for outcome in outcomes if type(outcome.way) in ways]

    beats, delegated, resent = of(Heartbeats), of(Delegated), of(Resent)
    report.check(
        "with futures every ghost ends, on every server and in the room's state, in spite of everything",
        all(one.unending == one.left == 0 and one.ghosts_ms for one in (*beats, *delegated)),
    )
    report.check(
        "with re-sent state and a polled SFU, the room's state has everybody in the call for ever",
        all(one.left > 0 for one in of(Resent, PolledSfu)),
    )
    report.check(
        "half of the ghosts of futures are gone after 15 s; those of re-sent state take minutes",
        all(percentile(one.ghosts_ms, 0.5) <= 15_500 for one in (*beats, *delegated))
        and all(percentile(one.ghosts_ms, 0.5) >= 120_000 for one in resent),
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
    report.check(
        "a longer delay throws fewer people out, and leaves ghosts longer",
        delayed[0].false_leaves >= delayed[-1].false_leaves
        and percentile(delayed[0].ghosts_ms, 0.5) < percentile(delayed[-1].ghosts_ms, 0.5),
    )
