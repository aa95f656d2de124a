"""Experiment: when should a future be authorised? Every change of rights, made here, there, late and twice.

All cells of one authorisation and one way of making the change live side by side in one world, each in a
room of its own.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from minihs.lab.evidence import Links, Watch, views_of
from minihs.lab.experiments import Size
from minihs.lab.experiments.auth_changes import CHANGES, NOTE, Cast, Cell
from minihs.lab.experiments.auth_verdicts import judge
from minihs.lab.handles import Plan, schedule
from minihs.lab.people import Refused
from minihs.lab.report import Report, Table, traffic_table
from minihs.lab.views import RoomView, differences
from minihs.lab.world import World

QUESTION = (
    "A future is scheduled on hs1; before it is due, its sender's right to send it changes. What is sent, "
    "what is refused, what do other servers make of it, and do the servers agree in the end?"
)
METHOD = (
    "Sam of hs1 schedules an event in 10 minutes. After one minute an administrator changes the rights: Lee "
    "of hs1 (here), Remy of hs2 (there), Remy behind a partition that lasts from before the change until two "
    "minutes after the due time (there, late), both of them on the two sides of that partition (both), or "
    "Remy there while Lee here confirms Sam's power (quarrel). Each in rooms of versions 10, 11 and 12, with "
    "futures authorised when they are scheduled, when they are sent, and at both moments. Rooms of one way "
    "share a world: to the traffic of a case each transaction counts whole that brought an event of its room."
)

DELAY_MS = 600_000
AUTHORISATIONS = ("schedule", "send", "both")
WAYS = ("here", "there", "there, late", "both", "quarrel")
APART = WAYS[2:]
"""Those in which the servers are cut off from one another."""
VERSIONS = ("10", "11", "12")

SETTINGS = {"futures.max_scheduled": 1_000, "federation.retry_max_ms": 15_000}


def run(seed: int, size: Size) -> Report:
    """The whole matrix; `small` is version 12 alone."""
    report = Report(name="auth-at-send-time", question=QUESTION, method=METHOD, seed=seed)
    versions = VERSIONS if size == "full" else VERSIONS[-1:]
    summary = report.table(
        "In all rooms",
        "authorised at",
        "change made",
        "futures",
        "refused when scheduled",
        "refused when due",
        "sent",
        "soft-failed on hs2",
        "rejected on hs2",
        "servers disagree",
    )
    traffic = Table(
        "Traffic between servers, of all rooms, from the scheduling on",
        ("authorised at", "change made", "from", "to", "requests", "PDUs", "EDUs", "bytes"),
        [],
    )
    cells: dict[tuple[str, str], list[Cell]] = {}
    for authorisation in AUTHORISATIONS:
        table = report.table(f"Authorised at {authorisation}", "rights", *(f"made {way}" for way in WAYS))
        for way in WAYS:
            played, links = _play(seed, authorisation, way, versions)
            cells[authorisation, way] = played
            _summarise(summary, authorisation, way, played)
            for link in traffic_table("", links).rows:
                traffic.add(authorisation, way, *link)
            if (authorisation, way) == ("schedule", "there, late"):
                _draw(report, played)
        for change in CHANGES:
            rows = [[cell for cell in cells[authorisation, way] if cell.change is change] for way in WAYS]
            table.add(change.name, *map(_all_versions, rows))
            for row in rows:
                _show(report, row)
    report.tables.append(traffic)
    judge(report, cells)
    return report


def _play(seed: int, authorisation: str, way: str, versions: tuple[str, ...]) -> tuple[list[Cell], Links]:
    world = World(
        ["hs1", "hs2"],
        seed=f"{seed} {authorisation} {way}",
        settings={**SETTINGS, "futures.authorisation": authorisation},
    )
    cast = Cast(world, world.user("sam", "hs1"), world.user("lee", "hs1"), world.user("remy", "hs2"))
    cells = [Cell(change, version) for change in CHANGES for version in versions]
    for cell in cells:
        _open_room(cast, cell)
    world.settle()
    for cell in cells:
        cell.watch = Watch(world, cell.room_id, alone=False)
    before = world.traffic_by_link()
    for cell in cells:
        _schedule(cast, cell)
    due_ms = world.now_ms + DELAY_MS
    if way in APART:
        for cell in cells:
            if cell.change.apart is not None:
                cell.change.apart.before(cast, cell, way)
        world.settle()
        world.partition(["hs1"], ["hs2"])
    world.advance(minutes=1)
    for cell in cells:
        _change(cast, cell, way)
    world.advance(ms=due_ms + 120_000 - world.now_ms)
    if way in APART:
        world.heal()
        world.advance(minutes=3)
    world.settle()
    links = {link: traffic - before[link] for link, traffic in world.traffic_by_link().items()}
    for cell in cells:
        _look(cast, cell)
        cell.say(f"in the end: {cell.text()}")
        if cell.watch is not None:
            chapter = f"authorised at {authorisation}, made {way}"
            title = f"{cell.change.name}, version {cell.version}"
            cell.evidence = cell.watch.ends(chapter, title, cell.text())
    world.stop()
    return cells, links


def _change(cast: Cast, cell: Cell, way: str) -> None:
    """Make the change, in one of the ways."""
    cell.say(f"{cell.change.name}, made {way}")
    if way in APART and cell.change.apart is not None:
        cell.change.apart.here(cast, cell, way)
        cell.change.apart.there(cast, cell, way)
        return
    cell.change.act(cast, cell, cast.lee if way == "here" else cast.remy)
    if way == "both":
        cell.change.act(cast, cell, cast.lee)
    elif way == "quarrel":
        cast.lee.set_power(cell.room_id, users={cast.sam.user_id: 60})


def _open_room(cast: Cast, cell: Cell) -> None:
    users = {cast.remy.user_id: 100, cast.sam.user_id: cell.change.before}
    if cell.version != "12":  # whose creators are above all levels, and may not be listed
        users[cast.lee.user_id] = 100
    cell.room_id = cast.lee.create_room(
        room_version=cell.version,
        power_level_content_override={"users": users, "events": {NOTE: 50}},
    )
    cast.sam.join(cell.room_id)
    cast.remy.join(cell.room_id, "hs1")
    if cell.change.prepare is not None:
        cell.change.prepare(cast, cell)


def _schedule(cast: Cast, cell: Cell) -> None:
    kinds: dict[str, tuple[str, str | None, dict[str, Any]]] = {
        "state": (NOTE, "", {"note": "from the past"}),
        "message": ("m.room.message", None, {"msgtype": "m.text", "body": "from the past"}),
        "redaction": ("m.room.redaction", None, {"redacts": cell.target}),
        "join": ("m.room.member", cast.sam.user_id, {"membership": "join"}),
    }
    event_type, state_key, content = kinds[cell.change.kind]
    plan = Plan(
        room_id=cell.room_id, type=event_type, state_key=state_key, content=content, delay_ms=DELAY_MS
    )
    cell.say(f"sam schedules {event_type}, due in {DELAY_MS // 60_000} minutes")
    try:
        cell.handle = schedule(cast.sam, plan)
    except Refused as refused:
        error = refused.response.json
        cell.outcome = f"refused when scheduled ({_rule(error)})"
        cell.say(f"hs1 does not take it: {error['error']}")


def _look(cast: Cast, cell: Cell) -> None:
    """What became of the future, and what each server makes of it."""
    views = views_of(cast.world, cell.room_id)
    cell.agree = len(views) == 2 and not differences(views)
    if cell.handle is None:
        return
    path = f"/_matrix/client/v1/delayed_events/{cell.handle.delay_id}"
    finalised = cast.sam.get(path)["finalised"]
    if "event_id" not in finalised:
        cell.outcome = f"refused when due ({_rule(finalised['error'])})"
        cell.say(f"hs1 has not sent it: {finalised['error']['error']}")
        return
    cell.event_id = str(finalised["event_id"])
    cell.outcome = "sent"
    cell.elsewhere = views[1].standing(cell.event_id)
    row = views[1].row(cell.event_id)
    if row is not None and row.refusal is not None:
        cell.rule = row.refusal.split(":")[0]
    cell.note = _in_force(views, cell.event_id)


def _rule(error: dict[str, str]) -> str:
    """The number of the rule that refused, or the code where none has a number."""
    found = re.search(r"auth rule ([^)]+)\)", error.get("error", ""))
    return found[1] if found else error["errcode"]


def _all_versions(cells: list[Cell]) -> str:
    """One text for all versions when they behave alike, as they mostly do."""
    texts = {cell.version: cell.text() for cell in cells}
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), "–")
    return " | ".join(f"v{version}: {text}" for version, text in texts.items())


def _in_force(views: list[RoomView], event_id: str) -> str:
    """For a state event: on which servers it is the current state in the end."""
    row = views[0].row(event_id)
    if row is None or row.event.state_key is None:
        return "" if views[1].standing(event_id) == "accepted" else "shown on hs1 alone"
    key = row.event.key
    where = [view.server for view in views if view.state.get(key) == event_id]
    return "in force" if len(where) == len(views) else f"in force on {', '.join(where) or 'none'}"


def _show(report: Report, cells: list[Cell]) -> None:
    """All versions of one case. The page has all where they differ, or else the last."""
    alike = len({cell.text() for cell in cells}) == 1
    for cell in cells:
        if cell.evidence is not None:
            report.show_case(replace(cell.evidence, on_page=not alike or cell is cells[-1]))


def _summarise(table: Any, authorisation: str, way: str, cells: list[Cell]) -> None:
    table.add(
        authorisation,
        way,
        len(cells),
        sum(cell.outcome.startswith("refused when scheduled") for cell in cells),
        sum(cell.outcome.startswith("refused when due") for cell in cells),
        sum(cell.event_id is not None for cell in cells),
        sum(cell.elsewhere == "soft-failed" for cell in cells),
        sum(cell.elsewhere == "rejected" for cell in cells),
        sum(not cell.agree for cell in cells),
    )


def _draw(report: Report, cells: list[Cell]) -> None:
    """The graph of one room whose servers had different news when the future was sent."""
    cell = next(cell for cell in cells if cell.change.name == "right lost")
    title = f"Right lost behind a partition, authorised at scheduling, version {cell.version}"
    if cell.evidence is not None:
        report.show_room(title, cell.evidence.after, before=cell.evidence.before)
