"""Experiment: one call, told in every generation of the proposal, between servers of different profiles."""

from __future__ import annotations

import msgspec

from minihs.lab.drawing import draw_lives
from minihs.lab.experiments import Size
from minihs.lab.experiments.drafts_story import (
    DELAY_MS,
    IN_ONE_REQUEST,
    Told,
    delegated,
    elsewhere,
    ghost_after_one_request,
    ghost_after_raising_hand,
    tell,
)
from minihs.lab.handles import SCHEDULERS
from minihs.lab.report import Drawing, Report

QUESTION = (
    "Alice joins a call, sends heartbeats, changes her own membership once, and her client crashes. What "
    "does that cost in each generation of the proposal, what can be delegated or listed, and what goes wrong?"
)
METHOD = (
    "hs1 serves that one dialect, hs2 the merged one. Alice's membership is a state event; the future that "
    "ends it waits for 10 seconds. Heartbeats come every 5 seconds for a minute; in the middle Alice raises "
    "her hand (a new state event of her own). Where that ended the future, her client notices at the next "
    "heartbeat and schedules another. Ghost time is from the crash until hs2 hears of the end. Afterwards "
    "the client wakes up, and sends one more heartbeat and its leave. Then the story is cut short: Alice "
    "crashes right after raising her hand, and between the requests of joining. And Bob asks his server in "
    "Alice's dialect."
)


class Mishaps(msgspec.Struct, frozen=True):
    """What goes wrong, and what others can do."""

    delegated: tuple[str, ...]
    after_raising_hand: bool
    after_one_request: bool
    elsewhere: str


def run(seed: int, size: Size) -> Report:
    """The story in every dialect; `small` beats for 20 seconds instead of a minute."""
    report = Report(name="drafts", question=QUESTION, method=METHOD, seed=seed)
    beats = 12 if size == "full" else 4
    told = {dialect: tell(report, seed, dialect, beats) for dialect in SCHEDULERS}
    mishaps = {
        dialect: Mishaps(
            tuple(delegated(report, seed, dialect)),
            ghost_after_raising_hand(report, seed, dialect),
            ghost_after_one_request(report, seed, dialect),
            elsewhere(report, seed, dialect),
        )
        for dialect in SCHEDULERS
    }
    _tell(report, told, mishaps)
    _judge(report, told, mishaps)
    lives = [one.life for one in told.values()]
    until_ms = max(one.until_ms for one in told.values())
    report.drawings.append(Drawing("Life of the leave in each draft", draw_lives(lives, until_ms)))
    return report


def _tell(report: Report, told: dict[str, Told], mishaps: dict[str, Mishaps]) -> None:
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
        note="Bytes are heads and bodies of HTTP/1.1, both ways, between Alice's client and hs1. PDUs went "
        "from hs1 to hs2. Delegated: what was done by somebody without Alice's access token.",
    )
    for dialect, one in told.items():
        table.add(
            dialect,
            one.joining.requests,
            one.joining.bytes,
            round(one.heartbeat_bytes),
            one.pdus,
            f"{one.ghost_ms / 1000:.2f} s",
            ", ".join(mishaps[dialect].delegated) or "nothing",
            one.listed,
        )
    table = report.table(
        "What goes wrong",
        "dialect",
        "own change ends the leave",
        "crash right after it: a ghost for",
        "crash with one request of joining sent: a ghost for",
        "late heartbeat",
        "late leave",
        "ends in the room",
        "on a server that serves only merged",
        note="A ghost for ever is one that was still there after ten minutes.",
    )
    for dialect, one in told.items():
        wrong = mishaps[dialect]
        table.add(
            dialect,
            "yes" if one.own_change_ends_it else "no",
            "ever" if wrong.after_raising_hand else "the delay",
            "ever" if wrong.after_one_request else "the delay",
            one.late_heartbeat,
            one.late_leave,
            one.leaves,
            wrong.elsewhere,
        )


def _judge(report: Report, told: dict[str, Told], mishaps: dict[str, Mishaps]) -> None:
    report.check(
        "in every draft hs2 hears of the end between 10 and 10.5 seconds after the last heartbeat",
        all(DELAY_MS <= one.ghost_ms <= DELAY_MS + 500 for one in told.values()),
    )
    report.check(
        "no heartbeat puts anything into the room: PDUs are joining, raising the hand, and the end; and "
        f"saying the membership again with its leave in {' and '.join(IN_ONE_REQUEST)}",
        all(
            one.pdus == 3 + (one.rescheduled if one.dialect in IN_ONE_REQUEST else 0) for one in told.values()
        ),
    )
    enders = [one.dialect for one in told.values() if one.own_change_ends_it]
    report.check(
        "one's own new state event ends one's own leave in the drafts before delay-query "
        f"({', '.join(enders) or 'none'}), and no longer since",
        enders == list(SCHEDULERS)[: list(SCHEDULERS).index("delay-query")],
    )
    report.check(
        "where it does, a crash before the next heartbeat leaves a ghost for ever; elsewhere it does not",
        enders == [dialect for dialect, wrong in mishaps.items() if wrong.after_raising_hand],
    )
    report.check(
        "a crash between the two requests of joining leaves a ghost for ever; will-expire and batch have one",
        [dialect for dialect, wrong in mishaps.items() if not wrong.after_one_request]
        == ["will-expire", "batch"],
    )
    report.check(
        "a heartbeat to a future that is over is refused in every draft, and a late leave sends nothing more",
        all(not one.late_heartbeat.startswith("200") and one.leaves == 1 for one in told.values()),
    )
    report.check(
        "tokens, and the ID of delay-query, can be handed to somebody else; the ID of merged cannot",
        mishaps["merged"].delegated == ()
        and all("restart" in mishaps[dialect].delegated for dialect in ("tokens", "delay-query")),
    )
    report.check(
        "a server that does not serve a draft refuses it, and sends no leave at join time",
        all(wrong.elsewhere.startswith("4") for name, wrong in mishaps.items() if name != "merged")
        and not any("left" in wrong.elsewhere for wrong in mishaps.values()),
    )
