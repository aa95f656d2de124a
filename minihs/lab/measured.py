"""Numbers in pages: tables and verdicts of a run, put where a Markdown page has a mark for them.

    <!-- table: TITLE -->        the table of that title in the full run
    <!-- small table: TITLE -->  the same in the run that tests can afford
    <!-- verdicts -->            what was expected, and whether it is so (or `small verdicts`)

What stands between a mark and the next empty line is the run's; `scripts/lab-pages` writes it, tests compare.
"""

from __future__ import annotations

import re

from minihs.lab.experiments import Size
from minihs.lab.report import Report, Table

_MARK = re.compile(r"<!-- (small )?(table: (?P<title>[^\n]+?)|verdicts) -->\n(?P<old>(?:[^\n]+\n)*)")


_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def filled(page: str, report: Report, size: Size) -> str:
    """The page with what this run found; LookupError when a mark asks for a table that the run has not."""
    tables = {table.title: table for table in report.tables}

    def fill(mark: re.Match[str]) -> str:
        if (mark[1] is not None) is not (size == "small"):
            return mark[0]
        head = mark[0].split("\n", 1)[0]
        title = mark["title"]
        if title is not None and title not in tables:
            raise LookupError(f"{report.name} has no table {title!r}; it has: {', '.join(tables)}")
        return head + "\n" + (_verdicts(report) if title is None else _table(tables[title]))

    return _MARK.sub(fill, page)


def drifted(page: str, report: Report, size: Size) -> list[str]:
    """Lines of the page that tell something else than this run. Words must be the same, and numbers the same
    but for a tenth: what travels between servers changes a little with each release."""
    there = page.splitlines()
    found = filled(page, report, size).splitlines()
    if len(there) != len(found):
        return [f"{len(there)} lines on the page, {len(found)} with the numbers of this run"]
    return [f"{old}\n{new}" for old, new in zip(there, found, strict=True) if not _alike(old, new)]


def _alike(old: str, new: str) -> bool:
    if _NUMBER.sub("#", old) != _NUMBER.sub("#", new):
        return False
    pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    return all(_near(float(one.replace(",", "")), float(other.replace(",", ""))) for one, other in pairs)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= max(1.0, 0.1 * abs(other))


def marks(page: str, size: Size) -> list[str]:
    """What the page has of a run of this size: titles of tables, or `verdicts`."""
    return [
        mark["title"] or "verdicts"
        for mark in _MARK.finditer(page)
        if (mark[1] is not None) is (size == "small")
    ]


def _table(table: Table) -> str:
    rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |\n" for row in rows)


def _verdicts(report: Report) -> str:
    return "".join(f"- {'✓' if verdict.holds else '✗'} {verdict.text}\n" for verdict in report.verdicts)
