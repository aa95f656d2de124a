"""Experiment: scheduled messages in the graph from the start (MSC3277) against futures, row by row.

The proposal runs as server code (`lab.proposals.msc3277`). `scheduled_beats` measures heartbeats,
`scheduled_fates` the rest; here are the report and what is expected of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from minihs.lab.experiments import Size
from minihs.lab.experiments.put_off import ASIDE, FOLLOWED, FUTURES, WAYS, Way
from minihs.lab.experiments.scheduled_beats import Beats, Measured, play_beats
from minihs.lab.experiments.scheduled_fates import (
    Death,
    Leak,
    Rights,
    StateFate,
    dies,
    rights,
    state_event,
    who_knows,
)
from minihs.lab.report import Report

QUESTION = (
    "What does it cost to put a scheduled event into the graph when it is scheduled (MSC3277), and what does "
    "it give away, compared with keeping it beside the graph until it is sent?"
)
METHOD = (
    "MSC3277 runs as server code on all servers: ?at= makes the event at once, with the time of its showing "
    "and `scheduled: true`; clients are not shown it before, other servers are sent it then, when it has "
    "been authorised again; a redaction cancels it; a server that gets it earlier withholds it, too. Two "
    "readings: the next event follows it in the graph, or nothing follows it, as nothing follows what was "
    "soft-failed. Participants on three servers hold up a leave that is due in 15 seconds, every 5 seconds, "
    "each at moments of their own: with futures by a restart, with MSC3277 by scheduling another and "
    "redacting the one before."
)

SIZES = {
    "small": (Beats(3, 2),),
    "full": (Beats(5, 10), Beats(20, 10), Beats(50, 10), Beats(100, 60)),
}

Spoken = Mapping[tuple[Way, bool], Death]


def run(seed: int, size: Size) -> Report:
    """Heartbeats at some sizes, then the questions that one event can answer."""
    report = Report(name="msc3277-vs-futures", question=QUESTION, method=METHOD, seed=seed)
    measured = [_heartbeats(report, seed, beats) for beats in SIZES[size]]
    both = [(way, spoken) for way in WAYS for spoken in (False, True)]
    deaths = {each: dies(seed, *each) for each in both}
    leaks = {way: who_knows(seed, way) for way in WAYS}
    states = {each: state_event(report, seed, *each) for each in both}
    changes = {way: rights(seed, way) for way in WAYS}
    _tell(report, deaths, leaks, states, changes)
    for found in measured:
        _judge_heartbeats(report, found)
    _judge(report, deaths, leaks, states, changes)
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


def _tell(
    report: Report,
    deaths: Spoken,
    leaks: Mapping[Way, Leak],
    states: Mapping[tuple[Way, bool], StateFate],
    changes: Mapping[Way, Rights],
) -> None:
    table = report.table(
        "The sender's server dies a minute before the time, and comes back an hour later",
        "way",
        "somebody spoke since",
        "before its time, hs2 has it",
        "at its time, Bob of hs2 sees it",
        "in the end",
    )
    for (way, spoken), death in deaths.items():
        early = "and shows it" if death.shown_early else death.early
        table.add(way.title, _yes(spoken), early, _yes(death.at_its_time), _yes(death.in_the_end))
    table = report.table(
        "Before its time, when somebody has spoken since",
        "way",
        "Carol, same server",
        "Bob, hs2",
        "Dora, hs3, which knows no MSC3277",
        "in the databases of",
        note="Asked by /sync, /messages, /context and /event.",
    )
    for way, leak in leaks.items():
        table.add(way.title, *map(_yes, leak.shown.values()), ", ".join(leak.has_it) or "none, as an event")
    table = report.table(
        "A state event that is put off",
        "way",
        "others spoke since",
        "in force before its time on",
        "in force after its time on",
        "the servers agree",
        "tips of the graph",
    )
    for (way, spoken), fate in states.items():
        agree = "no" if fate.differences else "yes"
        early, late = ", ".join(fate.early) or "none", ", ".join(fate.late) or "none"
        table.add(way.title, _yes(spoken), early, late, agree, fate.tips)
    table = report.table(
        "Its sender's place in the room changes while it waits",
        "way",
        "shown though its sender may not send it any more",
        "cancelled by a sender who has left the room",
        "shown when that sender has come back",
    )
    for way, change in changes.items():
        table.add(
            way.title, _yes(change.demoted), change.cancelled_from_outside, _yes(change.of_who_came_back)
        )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _judge_heartbeats(report: Report, found: Mapping[Way, Measured]) -> None:
    followed, aside, futures = found[FOLLOWED], found[ASIDE], found[FUTURES]
    count = futures.beats.count
    report.check(
        f"{count:,} heartbeats of futures put nothing into the graph and send nothing to other servers; each "
        "of MSC3277 puts two events there for ever (aside: one, and one that stays with its sender's server)",
        (futures.grown, futures.servers.requests) == (0, 0)
        and followed.grown >= 2 * count
        and aside.grown >= count,
    )
    report.check(
        f"followed in the graph, {followed.leaked:,} pending events got to servers that should not have had "
        f"them; aside, {aside.leaked:,}",
        followed.leaked > 0 and aside.leaked == 0 and futures.leaked == 0,
    )


def _judge(
    report: Report,
    deaths: Spoken,
    leaks: Mapping[Way, Leak],
    states: Mapping[tuple[Way, bool], StateFate],
    changes: Mapping[Way, Rights],
) -> None:
    report.check(
        "everything that was put off is shown in the end, once its sender's server is back",
        all(death.in_the_end for death in deaths.values()),
    )
    on_time = [each for each, death in deaths.items() if death.at_its_time]
    report.check(
        "with the sender's server dead it is shown on time only if it is in the graph and followed",
        on_time == [(FOLLOWED, True)],
    )
    report.check(
        "that is because other servers had it before: no embargo and resilience together",
        [each for each, death in deaths.items() if death.early != "unknown"] == on_time,
    )
    report.check(
        "whoever uses a server that does not know MSC3277 reads a followed event before its time",
        [way for way, leak in leaks.items() if any(leak.shown.values())] == [FOLLOWED]
        and [name for name, shown in leaks[FOLLOWED].shown.items() if shown] == ["dora"],
    )
    wrong = [each for each, fate in states.items() if not fate.is_right]
    report.check(
        "a state event that is put off into the graph, and followed, is in force before its time or never, "
        "and the servers disagree; a future does neither",
        (FOLLOWED, True) in wrong and not any(way is FUTURES for way, _ in wrong),
    )
    report.check(
        "nobody's event is shown who may not send it when its time has come",
        not any(change.demoted for change in changes.values()),
    )
    report.check(
        "who has left the room can cancel a future, and cannot redact what waits in the graph",
        changes[FUTURES].cancelled_from_outside == "200"
        and not changes[FUTURES].of_who_came_back
        and all(changes[way].cancelled_from_outside.startswith("403") for way in (FOLLOWED, ASIDE)),
    )
