"""Experiment: scheduled messages in the graph from the start (MSC3277) against futures, row by row.

The proposal runs as server code (`lab.proposals.msc3277`). `scheduled_beats` measures heartbeats,
`scheduled_fates` and `scheduled_upkeep` the rest; here are the report and what is expected of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from minihs.lab.experiments import Size
from minihs.lab.experiments.put_off import ASIDE, EARLY, FOLLOWED, FUTURES, IN_GRAPH, WAYS, Way
from minihs.lab.experiments.scheduled_beats import Beats, Measured, play_beats
from minihs.lab.experiments.scheduled_fates import (
    Death,
    Echo,
    Leak,
    Rights,
    StateFate,
    dies,
    echo,
    rights,
    state_event,
    who_knows,
)
from minihs.lab.experiments.scheduled_upkeep import Upkeep, kept_up
from minihs.lab.report import Report

QUESTION = (
    "What does it cost to put a scheduled event into the graph when it is scheduled (MSC3277), and what does "
    "it give away, compared with keeping it beside the graph until it is sent?"
)
METHOD = (
    "MSC3277 runs as server code on all servers: ?at= makes the event at once, with the time of its showing "
    "and `scheduled: true`; its sender's devices are shown it at once, all others not before that time; "
    "other servers are sent it then, when it has been authorised again; a redaction cancels it; a server "
    "that gets it earlier withholds it, too. Three readings: the next event follows it in the graph; nothing "
    "follows it, as nothing follows what was soft-failed; it is followed and other servers are sent it at "
    "once, which the proposal weighs and decides against. Participants on three servers hold up a leave that "
    "is due in 15 seconds, every 5 seconds, each at moments of their own: with futures by a restart, with "
    "MSC3277 by scheduling another and redacting the one before."
)

SIZES = {
    "small": (Beats(3, 2),),
    "full": (Beats(5, 10), Beats(20, 10), Beats(50, 10), Beats(100, 60)),
}

Spoken = tuple[Way, bool]
"""A way, and whether somebody spoke while the event waited."""


class Fates(msgspec.Struct, frozen=True):
    """What became of single events."""

    deaths: Mapping[Spoken, Death]
    kept_up: Mapping[Way, Upkeep]
    leaks: Mapping[Way, Leak]
    echoes: Mapping[Way, Echo]
    states: Mapping[Spoken, StateFate]
    changes: Mapping[Way, Rights]


def run(seed: int, size: Size) -> Report:
    """Heartbeats at some sizes, then the questions that one event can answer."""
    report = Report(name="msc3277-vs-futures", question=QUESTION, method=METHOD, seed=seed)
    measured = [_heartbeats(report, seed, beats) for beats in SIZES[size]]
    both = [(way, spoken) for way in WAYS for spoken in (False, True)]
    fates = Fates(
        deaths={each: dies(seed, *each) for each in both},
        kept_up={way: kept_up(report, seed, way) for way in WAYS},
        leaks={way: who_knows(seed, way) for way in WAYS},
        echoes={way: echo(report, seed, way) for way in WAYS},
        states={each: state_event(report, seed, *each) for each in both},
        changes={way: rights(seed, way) for way in WAYS},
    )
    _tell(report, fates)
    for found in measured:
        _judge_heartbeats(report, found)
    _judge_sweep(report, measured)
    _judge(report, fates)
    return report


def _heartbeats(report: Report, seed: int, beats: Beats) -> dict[Way, Measured]:
    table = report.table(
        f"{beats.participants} participants, {beats.minutes} minutes: {beats.count:,} heartbeats",
        "way",
        "client requests",
        "client MB",
        "bytes per heartbeat",
        "requests between servers",
        "of them for missing events",
        "PDUs sent",
        "MB between servers",
        "events in the graph",
        "pending events others got",
        "rows nobody is shown",
        "waiting at the end",
        note="Pending events that others got: events that no server but their sender's should have, counted "
        "on each that has one; none of them was ever due. Rows that nobody is shown: in the database of hs1. "
        "Waiting: what the three servers keep timers for.",
    )
    found = {way: play_beats(seed, beats, way) for way in WAYS}
    for way, one in found.items():
        table.add(
            way.title,
            one.clients.requests,
            f"{one.clients.bytes / 1e6:.2f}",
            f"{one.clients.bytes / beats.count:.0f}",
            one.servers.requests,
            one.asked_for,
            one.servers.pdus,
            f"{one.servers.bytes / 1e6:.2f}",
            one.grown,
            one.leaked,
            one.skipped,
            one.waiting,
        )
    return found


def _tell(report: Report, fates: Fates) -> None:
    table = report.table(
        "The sender's server dies a minute before the time, and comes back an hour later",
        "way",
        "somebody spoke since",
        "before its time, hs2 has it",
        "at its time, Bob of hs2 sees it",
        "in the end",
    )
    for (way, spoken), death in fates.deaths.items():
        early = "and shows it" if death.shown_early else death.early
        table.add(way.title, _yes(spoken), early, _yes(death.at_its_time), _yes(death.in_the_end))
    table = report.table(
        "Put off again every minute by its sender",
        "way",
        "its server dies after a heartbeat: Bob of hs2 sees it when it is due",
        "when that server is back",
        "servers apart: Bob sees it though its sender goes on",
        "and still when they are together again",
    )
    for way, upkeep in fates.kept_up.items():
        answers = (upkeep.on_time, upkeep.in_the_end, upkeep.mistaken, upkeep.stays)
        table.add(way.title, *map(_yes, answers))
    table = report.table(
        "Before its time, when somebody has spoken since",
        "way",
        "Carol, same server",
        "Bob, hs2",
        "Dora, hs3, which knows no MSC3277",
        "in the databases of",
        note="Asked by /sync, /messages, /context and /event.",
    )
    for way, leak in fates.leaks.items():
        table.add(way.title, *map(_yes, leak.shown.values()), ", ".join(leak.has_it) or "none, as an event")
    table = report.table(
        "What another device of its sender knows while it waits",
        "way",
        "told by /sync",
        "can ask what waits",
        "can cancel it",
    )
    for way, known in fates.echoes.items():
        told = "no" if known.told_after_ms is None else f"after {known.told_after_ms:.0f} ms"
        table.add(way.title, told, _yes(known.listed), _yes(known.cancelled))
    table = report.table(
        "A state event that is put off",
        "way",
        "others spoke since",
        "in force before its time on",
        "in force after its time on",
        "the servers agree",
        "tips of the graph",
    )
    for (way, spoken), fate in fates.states.items():
        agree = "no" if fate.differences else "yes"
        before, after = ", ".join(fate.early) or "none", ", ".join(fate.late) or "none"
        table.add(way.title, _yes(spoken), before, after, agree, fate.tips)
    table = report.table(
        "Its sender's place in the room changes while it waits",
        "way",
        "shown though its sender may not send it any more",
        "cancelled by a sender who has left the room",
        "shown when that sender has come back",
    )
    for way, change in fates.changes.items():
        table.add(
            way.title, _yes(change.demoted), change.cancelled_from_outside, _yes(change.of_who_came_back)
        )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _judge_heartbeats(report: Report, found: Mapping[Way, Measured]) -> None:
    followed, aside, early, futures = (found[way] for way in (FOLLOWED, ASIDE, EARLY, FUTURES))
    count = futures.beats.count
    report.check(
        f"{count:,} heartbeats of futures put nothing into the graph and send nothing to other servers; each "
        "of MSC3277 puts two events there for ever (aside: one, and one that stays with its sender's server)",
        (futures.grown, futures.servers.requests) == (0, 0)
        and followed.grown >= 2 * count
        and early.grown >= 2 * count
        and aside.grown >= count,
    )
    report.check(
        f"followed in the graph, {followed.leaked:,} pending events got to servers that should not have had "
        f"them, sent at once {early.leaked:,}; aside, {aside.leaked:,}",
        followed.leaked > count and early.leaked > count and (aside.leaked, futures.leaked) == (0, 0),
    )
    report.check(
        "a heartbeat of a future restarts a timer that is there: one for each participant in the end, and no "
        "row that nobody is shown; each of MSC3277 leaves such a row (aside: with its sender's server alone)",
        (futures.waiting, futures.skipped) == (futures.beats.participants, 0)
        and min(followed.skipped, early.skipped) >= count > aside.skipped >= count // 3,
    )


def _judge_sweep(report: Report, measured: Sequence[Mapping[Way, Measured]]) -> None:
    """`measured` at every size: the requests between servers for a heartbeat are the same."""
    wanted = {FOLLOWED: 4, ASIDE: 2, EARLY: 4, FUTURES: 0}
    report.check(
        "a heartbeat takes four requests between servers when it is followed or sent at once, two aside, "
        "none as a future, however many participants there are",
        all(
            abs(found[way].servers.requests / found[way].beats.count - requests) < 0.1
            for found in measured
            for way, requests in wanted.items()
        ),
    )


def _judge(report: Report, fates: Fates) -> None:
    report.check(
        "everything that was put off is shown in the end, once its sender's server is back",
        all(death.in_the_end for death in fates.deaths.values())
        and all(upkeep.in_the_end for upkeep in fates.kept_up.values()),
    )
    on_time = [each for each, death in fates.deaths.items() if death.at_its_time]
    report.check(
        "with the sender's server dead it is shown on time only if it was sent at once, or is in the graph "
        "and somebody spoke since",
        on_time == [(FOLLOWED, True), (EARLY, False), (EARLY, True)],
    )
    report.check(
        "that is because other servers had it before: no embargo and resilience together",
        [each for each, death in fates.deaths.items() if death.early != "unknown"] == on_time,
    )
    mistaken = [way for way, upkeep in fates.kept_up.items() if upkeep.mistaken]
    report.check(
        "if it is put off again and again, the same ways show it on time without its sender's server, and by "
        "mistake on servers that miss a heartbeat; the others do neither",
        mistaken == [FOLLOWED, EARLY]
        and mistaken == [way for way, upkeep in fates.kept_up.items() if upkeep.on_time],
    )
    report.check(
        "what was shown by mistake is redacted when the servers are together again",
        not any(upkeep.stays for upkeep in fates.kept_up.values()),
    )
    report.check(
        "whoever uses a server that does not know MSC3277 reads what has come there before its time; nobody "
        "else does",
        {way: [name for name, shown in leak.shown.items() if shown] for way, leak in fates.leaks.items()}
        == {FOLLOWED: ["dora"], ASIDE: [], EARLY: ["dora"], FUTURES: []},
    )
    report.check(
        "MSC3277 tells the sender's other devices at once what waits; of a future they must ask; either way "
        "they can cancel it",
        [way for way, known in fates.echoes.items() if known.told_after_ms is not None] == list(IN_GRAPH)
        and all((known.told_after_ms or 0.0) < 1_000 for known in fates.echoes.values())
        and [way for way, known in fates.echoes.items() if known.listed] == [FUTURES]
        and all(known.cancelled for known in fates.echoes.values()),
    )
    wrong = [each for each, fate in fates.states.items() if not fate.is_right]
    report.check(
        "a state event that is put off into the graph, and followed, is in force before its time or never, "
        "and the servers disagree; aside, or as a future, neither",
        wrong == [(FOLLOWED, True), (EARLY, False), (EARLY, True)]
        and bool(fates.states[FOLLOWED, True].differences)
        and bool(fates.states[EARLY, True].differences),
    )
    report.check(
        "nobody's event is shown who may not send it when its time has come",
        not any(change.demoted for change in fates.changes.values()),
    )
    report.check(
        "who has left the room can cancel a future, and cannot redact what waits in the graph",
        fates.changes[FUTURES].cancelled_from_outside == "200"
        and not fates.changes[FUTURES].of_who_came_back
        and all(fates.changes[way].cancelled_from_outside.startswith("403") for way in IN_GRAPH),
    )
