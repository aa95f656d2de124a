"""A text that is to go a minute after it has been read (`m.self_destruct`). A part of `self_destruct`."""

from __future__ import annotations

import msgspec

from minihs.lab.evidence import Watch
from minihs.lab.experiments.self_destruct_scene import MINUTE_MS, Scene, scene, told
from minihs.lab.handles import Plan, schedule
from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.proposals.msc2228 import FOR, REDACTION
from minihs.lab.report import Report

HOMES = {"ann": "hs1", "bea": "hs2", "ben": "hs2", "cat": "hs3", "dan": "hs4", "eve": "hs5"}
WHO = {
    "ann": "Ann, its sender",
    "bea": "Bea, hs2",
    "ben": "Ben, hs2",
    "cat": "Cat, hs3",
    "dan": "Dan, hs4, whose clock is slow",
    "eve": "Eve, hs5, which knows no MSC2228",
}
READ_MIN = {"bea": 10, "ben": 120, "cat": 10, "dan": 10, "eve": 10}
LONGSTOP_MIN = 180
END_MIN = 240


class Case(msgspec.Struct, frozen=True):
    """How it is read, and whether a redaction is scheduled besides."""

    title: str
    cut_off: bool = True
    """Cat's server is apart from the others when she reads it."""
    explicit: bool = True
    """Ben's client sends a receipt for this very message, not only for the newest one."""
    by_future: bool = False


CALM = Case("all are well", cut_off=False)
APART = Case("Cat reads it while hs3 is cut off")
NEWEST = Case("Ben's receipt is for a later message", cut_off=False, explicit=False)
LONGSTOP = Case("both, and a redaction as a future in 3 hours", explicit=False, by_future=True)
CASES = (CALM, APART, NEWEST, LONGSTOP)


class Read(msgspec.Struct, frozen=True):
    """When the text was gone for each, in minutes after it was sent, and whose receipts its sender has."""

    gone_min: dict[str, float | None]
    receipts: tuple[str, ...]


def play_receipts(report: Report, seed: int) -> dict[Case, Read]:
    """All cases."""
    found = {case: _play(report, seed, case) for case in CASES}
    table = report.table(
        "Gone a minute after it was read: when it is gone for whom",
        "who",
        "reads it",
        *(case.title for case in CASES),
    )
    for name, who in WHO.items():
        read = f"{READ_MIN[name]} min" if name in READ_MIN else "–"
        table.add(who, read, *(told(found[case].gone_min[name]) for case in CASES))
    return found


def _play(report: Report, seed: int, case: Case) -> Read:
    here = scene(f"{seed} receipts {case.title}", HOMES, by_itself=True)
    ann = here.people["ann"]
    watch = Watch(here.world, here.room_id)
    content = {"msgtype": "m.text", "body": "read and forget", FOR: MINUTE_MS}
    event_id = ann.send_event(here.room_id, "m.room.message", content)
    if case.by_future:
        redacts = {"redacts": event_id}
        plan = Plan(room_id=here.room_id, type=REDACTION, content=redacts, delay_ms=LONGSTOP_MIN * MINUTE_MS)
        schedule(ann, plan)
    here.watch(END_MIN)
    here.until(5)
    newer = ann.send(here.room_id, "anything else")
    here.world.settle()
    if case.cut_off:
        here.cut_off()
    here.until(10)
    for name in ("bea", "cat", "dan", "eve"):
        _read(here, here.people[name], event_id)
    here.until(70)
    here.world.heal()
    here.until(120)
    _read(here, here.people["ben"], event_id if case.explicit else newer)
    here.until(END_MIN + 1)
    found = Read({name: here.gone_after_min(name, event_id) for name in HOMES}, _receipts(here, ann))
    said = "; ".join(f"{name}: {told(minutes)}" for name, minutes in found.gone_min.items())
    report.show_case(watch.ends("Gone a minute after it was read", case.title, said, on_page=case is CALM))
    here.world.stop()
    return found


def _read(here: Scene, person: Client, event_id: str) -> None:
    person.post(f"/rooms/{in_path(here.room_id)}/receipt/m.read/{in_path(event_id)}")


def _receipts(here: Scene, person: Client) -> tuple[str, ...]:
    """Who has read something, and when, as somebody is told in the end."""
    events = person.get("/sync")["rooms"]["join"][here.room_id].get("ephemeral", {}).get("events", ())
    readers = {
        user_id
        for event in events
        if event["type"] == "m.receipt"
        for of_event in event["content"].values()
        for user_id, receipt in of_event.get("m.read", {}).items()
        if "ts" in receipt
    }
    return tuple(sorted(readers))


def judge_receipts(report: Report, found: dict[Case, Read]) -> None:
    def gone(case: Case, name: str) -> float:
        minutes = found[case].gone_min[name]
        return float("inf") if minutes is None else minutes

    def sender_has(case: Case) -> set[str]:
        return {user_id[1:4] for user_id in found[case].receipts}

    report.check(
        "with `m.self_destruct` whoever has read the text loses it a minute later, behind a cut and by a "
        "slow clock, too, if their server knows MSC2228",
        all(abs(gone(case, name) - 11) < 0.1 for case in CASES for name in ("bea", "cat", "dan"))
        and gone(CALM, "eve") == float("inf"),
    )
    report.check(
        "it is gone for one reader while another of the same server still has it; for its sender when it is "
        "gone for all",
        all(abs(gone(CALM, name) - 121) < 0.1 for name in ("ben", "ann")),
    )
    report.check(
        "a receipt that a cut kept from the sender's server is not made up for: its sender keeps the text",
        sender_has(CALM) - sender_has(APART) == {"cat"} and gone(APART, "ann") == float("inf"),
    )
    report.check(
        "who sends receipts of the newest message alone, as is usual, keeps the text for ever, and so does "
        "its sender",
        gone(NEWEST, "ben") == gone(NEWEST, "ann") == float("inf"),
    )
    report.check(
        "a redaction as a future besides ends that, on servers that do not know MSC2228 too",
        all(abs(gone(LONGSTOP, name) - LONGSTOP_MIN) < 0.1 for name in ("ann", "ben", "eve")),
    )
    report.check(
        "the sender's server, and thus its users, are told by name who has read it",
        sender_has(CALM) == {"bea", "ben", "cat", "dan", "eve"},
    )
