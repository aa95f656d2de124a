"""Experiment: when should a future be authorised? Every change of rights, made here, there, late and twice.

All cells of one authorisation and one way of making the change live side by side in one world, each in a
room of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from minihs.lab.drawing import draw_graphs
from minihs.lab.experiments import Size
from minihs.lab.handles import Handle, Plan, schedule
from minihs.lab.http_client import in_path
from minihs.lab.people import Client, Refused
from minihs.lab.report import Report
from minihs.lab.views import RoomView, differences, view_of
from minihs.lab.world import World

QUESTION = (
    "A future is scheduled on hs1; before it is due, its sender's right to send it changes. What is sent, "
    "what is refused, what do other servers make of it, and do the servers agree in the end?"
)
METHOD = (
    "Sam of hs1 schedules an event in 10 minutes. After one minute an administrator changes the rights: Lee "
    "of hs1 (here), Remy of hs2 (there), Remy behind a partition that lasts from before the change until two "
    "minutes after the due time (there, late), or both at once on two sides of that partition, where Lee at "
    "the same time confirms Sam's power (both). Each in rooms of versions 10, 11 and 12, with futures "
    "authorised when they are scheduled, when they are sent, and at both moments."
)

NOTE = "org.example.note"
"""A state event of the experiment; sending it takes power 50."""
DELAY_MS = 600_000
AUTHORISATIONS = ("schedule", "send", "both")
WAYS = ("here", "there", "there, late", "both")
VERSIONS = ("10", "11", "12")

SETTINGS = {"futures.max_scheduled": 1_000, "federation.retry_max_ms": 15_000}


class Cell(msgspec.Struct):
    """One room: a change of rights under one authorisation, made in one way, in one version."""

    change: Change
    version: str
    room_id: str = ""
    target: str = ""
    handle: Handle | None = None
    outcome: str = ""
    event_id: str | None = None
    elsewhere: str = ""
    agree: bool = True
    note: str = ""

    def text(self) -> str:
        """The cell in words."""
        parts = [self.outcome]
        if self.event_id is not None:
            parts.append(f"hs2: {self.elsewhere}")
        if self.note:
            parts.append(self.note)
        if not self.agree:
            parts.append("THE SERVERS DISAGREE")
        return "; ".join(parts)


class Cast(msgspec.Struct):
    """The people of a world."""

    world: World
    sam: Client
    lee: Client
    remy: Client


Act = Callable[[Cast, Cell, Client], None]


class Change(msgspec.Struct, frozen=True):
    """What happens to Sam's rights. `before` is Sam's power at scheduling; `plan` makes the future."""

    name: str
    act: Act
    before: int = 50
    kind: str = "state"
    prepare: Callable[[Cast, Cell], None] | None = None
    needs_sams_server: bool = False
    """It cannot be made while Sam's server cannot be reached."""


def _power(level: int) -> Act:
    def act(cast: Cast, cell: Cell, admin: Client) -> None:
        admin.set_power(cell.room_id, users={cast.sam.user_id: level})

    return act


def _nothing(_cast: Cast, _cell: Cell, _admin: Client) -> None:
    """The control."""


def _kick(cast: Cast, cell: Cell, admin: Client) -> None:
    admin.post(f"/rooms/{in_path(cell.room_id)}/kick", {"user_id": cast.sam.user_id})


def _kick_and_return(cast: Cast, cell: Cell, admin: Client) -> None:
    _kick(cast, cell, admin)
    cast.world.settle()
    cast.sam.join(cell.room_id, "hs2")


def _ban(cast: Cast, cell: Cell, admin: Client) -> None:
    admin.post(f"/rooms/{in_path(cell.room_id)}/ban", {"user_id": cast.sam.user_id})


def _upgrade(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.post(f"/rooms/{in_path(cell.room_id)}/upgrade", {"new_version": "12"})


def _raise_type(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.set_power(cell.room_id, events={NOTE: 75})


def _redact_target(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.redact(cell.room_id, cell.target)


def _close(_cast: Cast, cell: Cell, admin: Client) -> None:
    admin.set_state(cell.room_id, "m.room.join_rules", {"join_rule": "invite"})


def _say_something(cast: Cast, cell: Cell) -> None:
    cell.target = cast.sam.send(cell.room_id, "to be redacted later")


def _leave(cast: Cast, cell: Cell) -> None:
    cast.sam.leave(cell.room_id)


CHANGES = (
    Change("nothing", _nothing),
    Change("right lost", _power(0)),
    Change("right gained", _power(50), before=0),
    Change("membership lost", _kick),
    Change("membership lost and regained", _kick_and_return, needs_sams_server=True),
    Change("banned", _ban),
    Change("room upgraded", _upgrade, before=0, kind="message"),
    Change("power raised for that type", _raise_type),
    Change("target of a redaction gone", _redact_target, kind="redaction", prepare=_say_something),
    Change("join rules changed", _close, kind="join", prepare=_leave),
)


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
    cells: dict[tuple[str, str], list[Cell]] = {}
    for authorisation in AUTHORISATIONS:
        table = report.table(f"Authorised at {authorisation}", "rights", *(f"made {way}" for way in WAYS))
        for way in WAYS:
            world, played = _play(seed, authorisation, way, versions)
            cells[authorisation, way] = played
            report.transcript += world.transcript.entries
            _summarise(summary, authorisation, way, played)
            if (authorisation, way) == ("schedule", "there, late"):
                _draw(report, world, played)
        for change in CHANGES:
            rows = [[cell for cell in cells[authorisation, way] if cell.change is change] for way in WAYS]
            table.add(change.name, *map(_all_versions, rows))
    _judge(report, cells)
    return report


def _play(seed: int, authorisation: str, way: str, versions: tuple[str, ...]) -> tuple[World, list[Cell]]:
    world = World(
        ["hs1", "hs2"],
        seed=f"{seed} {authorisation} {way}",
        settings={**SETTINGS, "futures.authorisation": authorisation},
    )
    world.transcript.mute("request")
    cast = Cast(world, world.user("sam", "hs1"), world.user("lee", "hs1"), world.user("remy", "hs2"))
    apart = way in ("there, late", "both")
    cells = [
        Cell(change, version)
        for change in CHANGES
        for version in versions
        if not (apart and change.needs_sams_server)
    ]
    for cell in cells:
        _open_room(cast, cell)
    world.settle()
    for cell in cells:
        _schedule(cast, cell)
    due_ms = world.now_ms + DELAY_MS
    if apart:
        world.partition(["hs1"], ["hs2"])
    world.advance(minutes=1)
    for cell in cells:
        cell.change.act(cast, cell, cast.lee if way == "here" else cast.remy)
        if way == "both":
            cast.lee.set_power(cell.room_id, users={cast.sam.user_id: 60})
    world.advance(ms=due_ms + 120_000 - world.now_ms)
    if apart:
        world.heal()
        world.advance(minutes=3)
    world.settle()
    for cell in cells:
        _look(cast, cell)
    world.stop()
    return world, cells


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
    try:
        cell.handle = schedule(cast.sam, plan)
    except Refused as refused:
        cell.outcome = f"refused when scheduled ({refused.response.status} {refused.response.errcode})"


def _look(cast: Cast, cell: Cell) -> None:
    """What became of the future, and what each server makes of it."""
    views = [view for name in cast.world.servers if (view := view_of(cast.world[name], cell.room_id))]
    cell.agree = not differences(views)
    if cell.handle is None:
        return
    path = f"/_matrix/client/v1/delayed_events/{cell.handle.delay_id}"
    finalised = cast.sam.get(path)["finalised"]
    if "event_id" not in finalised:
        cell.outcome = f"refused when due ({finalised['error']['errcode']})"
        return
    cell.event_id = str(finalised["event_id"])
    cell.outcome = "sent"
    cell.elsewhere = views[1].standing(cell.event_id)
    cell.note = _in_force(views, cell.event_id)


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
        return ""
    key = row.event.key
    where = [view.server for view in views if view.state.get(key) == event_id]
    return "in force" if len(where) == len(views) else f"in force on {', '.join(where) or 'none'}"


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


def _draw(report: Report, world: World, cells: list[Cell]) -> None:
    """The graph of one room whose servers had different news when the future was sent."""
    from minihs.lab.report import Drawing

    cell = next(cell for cell in cells if cell.change.name == "right lost")
    views = [view for name in world.servers if (view := view_of(world[name], cell.room_id))]
    title = f"Right lost behind a partition, authorised at scheduling, version {cell.version}"
    report.drawings.append(Drawing(title, draw_graphs(views)))
    report.graphs += [view.to_json() for view in views]


def _judge(report: Report, cells: dict[tuple[str, str], list[Cell]]) -> None:
    def of(authorisation: str, *ways: str) -> list[Cell]:
        return [cell for way in ways or WAYS for cell in cells[authorisation, way]]

    def spoilt(chosen: list[Cell]) -> int:
        return sum(cell.elsewhere in ("soft-failed", "rejected") for cell in chosen)

    gained = [cell for cell in of("send", "here", "there") if cell.change.name == "right gained"]
    at_schedule = of("schedule", "here", "there")
    report.check(
        "authorised at send time, nothing that the sender's server knew to be forbidden was sent: "
        "no event was refused elsewhere when the change had been delivered",
        spoilt(of("send", "here", "there")) == 0 and spoilt(of("both", "here", "there")) == 0,
    )
    report.check(
        f"authorised at scheduling alone, {spoilt(at_schedule)} of "
        f"{sum(cell.event_id is not None for cell in at_schedule)} events that were sent were refused "
        "elsewhere",
        spoilt(at_schedule) > 0,
    )
    report.check(
        "a right that is gained while the future waits counts at send time, and at no other",
        all(cell.event_id is not None for cell in gained)
        and not any(
            cell.event_id
            for authorisation in ("schedule", "both")
            for cell in of(authorisation)
            if cell.change.name == "right gained"
        ),
    )
    for authorisation in ("send", "both"):
        report.check(
            f"authorised at {authorisation}, the servers agree about the state of every room in the end",
            all(cell.agree for cell in of(authorisation)),
        )
    wrong = sum(not cell.agree for cell in of("schedule"))
    report.check(
        f"authorised at scheduling alone, the servers disagree for good in {wrong} of "
        f"{len(of('schedule'))} rooms",
        wrong > 0,
    )
