"""A text that is edited while it waits for its end: by MSC2228, and by redactions as futures. A part of
`self_destruct`."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.lab.evidence import Watch
from minihs.lab.experiments.self_destruct_scene import CUT_OFF, MINUTE_MS, SERVERS, Scene, scene
from minihs.lab.handles import Handle, Plan, schedule
from minihs.lab.people import Client
from minihs.lab.proposals.msc2228 import AFTER, REDACTION
from minihs.lab.report import Report

HOMES = {f"user{server[2:]}": server for server in SERVERS}
FIRST_MIN = 60
EDIT_MIN = 30
END_MIN = 150


class Edit(msgspec.Struct, frozen=True):
    """What the edit is about; `wanted_min` is when the text is to go then."""

    title: str
    wanted_min: int
    says: bool = True
    """The edit has the field that says when."""


LATER = Edit("its end moves from 60 to 120 minutes", 120)
SOONER = Edit("its end moves from 60 to 45 minutes", 45)
WORD = Edit("a word is corrected, its end is not mentioned", FIRST_MIN, says=False)
EDITS = (LATER, SOONER, WORD)


class Way(msgspec.Struct, frozen=True):
    """How the text is to go. `each`: a future for every version of it."""

    title: str
    by_itself: bool = False
    each: bool = False


MSC2228 = Way("MSC2228", by_itself=True)
EACH = Way("redactions as futures, of each version", each=True)
FIRST = Way("a redaction as a future, of the first version")
WAYS = (MSC2228, EACH, FIRST)

Late = dict[str, float | None]
"""By server: how many minutes after the wanted moment the first version was gone; None: something can be read
for ever."""


def play_edits(report: Report, seed: int) -> dict[tuple[Edit, Way], Late]:
    """All edits in all ways."""
    table = report.table("Edited after half an hour: when the text is gone", "edit", "way", *SERVERS)
    found: dict[tuple[Edit, Way], Late] = {}
    for edit in EDITS:
        for way in WAYS if edit is WORD else (MSC2228, EACH):
            late = found[edit, way] = _play(report, seed, edit, way)
            table.add(edit.title, way.title, *map(_told, late.values()))
    return found


def _told(late_min: float | None) -> str:
    if late_min is None:
        return "never"
    if abs(late_min) < 0.1:
        return "on time"
    return f"{abs(late_min):.1f} min too {'late' if late_min > 0 else 'early'}"


def _play(report: Report, seed: int, edit: Edit, way: Way) -> Late:
    here = scene(f"{seed} edits {edit.title} {way.title}", HOMES, by_itself=way.by_itself)
    sender = here.people["user1"]
    watch = Watch(here.world, here.room_id)
    content: dict[str, Any] = {"msgtype": "m.text", "body": "for an hour"}
    first = _send(here, sender, way, content, FIRST_MIN)
    future = None if way.by_itself else _redact_later(here, sender, first, FIRST_MIN)
    here.watch(END_MIN)
    here.until(20)
    here.cut_off()
    here.until(EDIT_MIN)
    changed = {
        "msgtype": "m.text",
        "body": "* for some time",
        "m.new_content": {"msgtype": "m.text", "body": "for some time"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": first},
    }
    second = _send(here, sender, way, changed, edit.wanted_min if edit.says else None)
    if future is not None and edit.says:
        here.world.run(future.command("cancel"))
        _redact_later(here, sender, first, edit.wanted_min)
    if way.each:
        _redact_later(here, sender, second, edit.wanted_min)
    here.until(100)
    here.world.heal()
    here.until(END_MIN + 1)
    found: Late = {}
    for name, server in HOMES.items():
        gone = [here.gone_after_min(name, event_id) for event_id in (first, second)]
        found[server] = None if None in gone else (gone[0] or 0.0) - edit.wanted_min
    said = "; ".join(f"{server}: {_told(late)}" for server, late in found.items())
    title = f"{edit.title}; {way.title}"
    report.show_case(watch.ends("Edited after half an hour", title, said, on_page=edit is LATER))
    here.world.stop()
    return found


def _send(here: Scene, sender: Client, way: Way, content: dict[str, Any], end_min: int | None) -> str:
    if way.by_itself and end_min is not None:
        moment_ms = here.begun_ms + end_min * MINUTE_MS - here.world.now_ms + sender.server.clock.wall_ms()
        content = {**content, AFTER: int(moment_ms)}
    return sender.send_event(here.room_id, "m.room.message", content)


def _redact_later(here: Scene, sender: Client, event_id: str, end_min: int) -> Handle:
    delay_ms = int(here.begun_ms + end_min * MINUTE_MS - here.world.now_ms)
    redacts = {"redacts": event_id}
    return schedule(sender, Plan(room_id=here.room_id, type=REDACTION, content=redacts, delay_ms=delay_ms))


def judge_edits(report: Report, found: dict[tuple[Edit, Way], Late]) -> None:
    def is_late(edit: Edit, way: Way, minutes: float, *servers: str) -> bool:
        late = [found[edit, way][server] for server in servers]
        return all(one is not None and abs(one - minutes) < 0.1 for one in late)

    report.check(
        "an edit that moves the end is kept by every server that knows MSC2228 and hears of it",
        all(is_late(edit, MSC2228, 0, "hs1", "hs2") for edit in (LATER, SOONER)),
    )
    report.check(
        "a server that is cut off keeps to the end that it knows: too early or too late; with futures it is "
        "never too early",
        is_late(LATER, MSC2228, -60, CUT_OFF)
        and is_late(SOONER, MSC2228, 15, CUT_OFF)
        and all(
            (late or 0.0) > -0.1 for (_, way), each in found.items() for late in each.values() if way.each
        ),
    )
    report.check(
        "read to the letter, an edit that does not mention the end has none: where it comes in time the text "
        "stays for ever",
        [server for server, late in found[WORD, MSC2228].items() if late is not None] == [CUT_OFF],
    )
    report.check(
        "a future redacts one event: each version needs its own, or the edit can be read for ever",
        all(late is not None for edit in EDITS for late in found[edit, EACH].values())
        and not any(late is not None for late in found[WORD, FIRST].values()),
    )
