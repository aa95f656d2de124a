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
