"""What `auth_at_send_time` claims, and whether its cells bear it out.

Each claim names what must happen and what must not, so that servers that judge nothing, send nothing or
agree about nothing do not fulfil it.
"""

from __future__ import annotations

from collections.abc import Iterable

from minihs.lab.experiments.auth_changes import Cell
from minihs.lab.report import Report

Cells = dict[tuple[str, str], list[Cell]]
"""By when futures were authorised and how the change was made."""

KNOWN = ("here", "there", "both")
"""Ways in which the sender's server has heard of the change when the future is due."""
SCHEDULED, DUE, SENT = "refused when scheduled", "refused when due", "sent"


def judge(report: Report, cells: Cells) -> None:
    """All verdicts."""
    authorisations = tuple(dict.fromkeys(authorisation for authorisation, _ in cells))
    for authorisation in authorisations:
        _known(report, authorisation, [cell for way in KNOWN for cell in cells[authorisation, way]])
    _gained(report, cells)
    for authorisation in ("send", "both"):
        every = [cell for (when, _), played in cells.items() if when == authorisation for cell in played]
        report.check(
            f"authorised at {authorisation}, the servers agree about the state of every one of {len(every)} "
            "rooms in the end",
            all(cell.agree for cell in every),
        )
    _broken(report, cells)
    for authorisation in authorisations:
        _late(report, authorisation, cells[authorisation, "there, late"])
    _quarrel(report, cells)


def _expected(authorisation: str, cell: Cell) -> str:
    """What becomes of the future on its own server, when that has all the news."""
    if authorisation != "send" and cell.change.too_early:
        return SCHEDULED
    if authorisation != "schedule" and cell.change.forbids:
        return DUE
    return SENT


def _known(report: Report, authorisation: str, known: list[Cell]) -> None:
    as_expected = all(cell.outcome.startswith(_expected(authorisation, cell)) for cell in known)
    sent = [cell for cell in known if cell.event_id is not None]
    spoilt = [cell for cell in sent if cell.elsewhere != "accepted"]
    if authorisation == "schedule":
        report.check(
            f"authorised at scheduling alone, {len(spoilt)} of {len(sent)} events that were sent although "
            "their sender's server had heard of the change were rejected by the other: those that the "
            "change forbids, and no other",
            as_expected
            and bool(spoilt)
            and all((cell.elsewhere == "rejected") is cell.change.forbids for cell in sent),
        )
        return
    report.check(
        f"authorised at {authorisation}, and with the news at hand, what the change forbids is refused when "
        "it is due, and all else that was scheduled is sent and accepted by the other server",
        as_expected and bool(sent) and not spoilt,
    )


def _gained(report: Report, cells: Cells) -> None:
    def sent(authorisation: str, name: str) -> set[bool]:
        chosen = _of(name, (cell for way in KNOWN for cell in cells[authorisation, way]))
        return {cell.event_id is not None for cell in chosen}

    report.check(
        "a right that is gained while the future waits counts at send time and at no other, and who never "
        "had it sends nothing",
        sent("send", "right gained") == {True}
        and all(sent(authorisation, "right gained") == {False} for authorisation in ("schedule", "both"))
        and all(
            sent(authorisation, "a right never held") == {False}
            for authorisation in ("schedule", "send", "both")
        ),
    )


def _broken(report: Report, cells: Cells) -> None:
    every = [cell for (when, _), played in cells.items() if when == "schedule" for cell in played]
    known = [cell for way in ("here", "there") for cell in cells["schedule", way]]
    wrong = [cell for cell in every if not cell.agree]
    report.check(
        f"authorised at scheduling alone, the servers disagree for good in {len(wrong)} of {len(every)} "
        "rooms: wherever a state event was sent that a change made on one side forbids",
        [id(cell) for cell in wrong]
        == [
            id(cell)
            for cell in known
            if cell.event_id is not None and cell.change.forbids and cell.change.kind != "message"
        ],
    )


def _late(report: Report, authorisation: str, late: list[Cell]) -> None:
    sent = [cell for cell in late if cell.event_id is not None]
    held = [cell for cell in late if cell.change.forbids and not cell.change.too_early]
    report.check(
        f"authorised at {authorisation}, an event that is sent before late news arrive is soft-failed by the "
        "other server where they forbid it, and then in force nowhere; all else is accepted",
        all(cell.event_id is not None for cell in held)
        and all(
            (cell.elsewhere, cell.note in ("in force on none", "shown on hs1 alone"))
            == (("soft-failed", True) if cell.change.forbids else ("accepted", False))
            for cell in sent
        ),
    )


def _quarrel(report: Report, cells: Cells) -> None:
    chosen = [
        cell
        for authorisation in ("schedule", "send", "both")
        for cell in _of("right lost", cells[authorisation, "quarrel"])
    ]
    versions = tuple(dict.fromkeys(cell.version for cell in chosen))
    wins = {cell.version for cell in chosen if cell.elsewhere == "accepted" and cell.note == "in force"}
    loses = {cell.version for cell in chosen if cell.elsewhere == "soft-failed" and "none" in cell.note}
    older = ", and in 10 and 11, where both have the same power, the later one" if len(versions) > 1 else ""
    report.check(
        "where one side confirms the right and the other takes it, what takes it stands in version 12, "
        f"whose creator's change comes first{older}",
        loses == {"12"} and wins == set(versions) - {"12"},
    )


def _of(name: str, cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.change.name == name]
