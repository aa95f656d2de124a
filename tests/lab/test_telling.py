"""Tables on a terminal: every word can be read, however narrow it is."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from minihs.lab.evidence import Evidence
from minihs.lab.report import Report, Table
from minihs.lab.telling import tell_table

WAYS = Table("The ways", ("way", "ghost p50", "never ended", "requests between servers", "false leaves"))
WAYS.add("future, heartbeats", "12.3 s", "0", "63,257", "36")
WAYS.add("polling the SFU", "12.1 s", "20", "63,386", "0")


def told(table: Table, width: int) -> str:
    out = StringIO()
    tell_table(Console(file=out, width=width), table)
    return out.getvalue()


@pytest.mark.parametrize("width", range(12, 120, 7))
def test_no_word_is_cut_off_on_any_terminal_that_has_room_for_one(width: int) -> None:
    text = told(WAYS, width)
    words = text.split()
    for cell in (*WAYS.columns, *(cell for row in WAYS.rows for cell in row)):
        for word in cell.split():
            assert word in words or word + ":" in words or len(word) > width - 6
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines()) or width < 40


def test_a_table_that_fits_keeps_its_shape_and_one_that_does_not_is_turned() -> None:
    (heading,) = [line for line in told(WAYS, 100).splitlines() if "way" in line and "p50" in line]
    assert [each.strip() for each in heading.strip("┃").split("┃")] == list(WAYS.columns)
    turned = told(WAYS, 48)
    assert any("63,257" in line and "63,386" in line for line in turned.splitlines())
    assert any("p50" in line and "12.3" in line and "12.1" in line for line in turned.splitlines())


def test_a_table_that_fits_in_no_shape_is_told_row_by_row() -> None:
    lines = told(WAYS, 34).splitlines()
    assert lines[:3] == ["The ways", "way: future, heartbeats", "  ghost p50                 12.3 s"]


def test_a_case_is_told_under_its_whole_title() -> None:
    """A line that is cut off would give two cases the same name."""
    chapter, title = "a chapter with many words in its name " * 3, "with its cause"
    case = Evidence(
        chapter=chapter,
        title=title,
        found="it is so",
        before=[],
        after=[],
        decisions=[],
        traffic={},
        lives=[],
        transcript=[],
    )
    out = StringIO()
    Report(name="n", question="q", seed=1, cases=[case]).tell(Console(file=out, width=60), story=True)
    assert f"{chapter}: {title}".split() == out.getvalue().split("q\n")[1].split("→")[0].strip("─\n").split()


def test_a_table_without_rows_still_has_its_headings() -> None:
    assert "nothing" in told(Table("Empty", ("nothing",)), 80)
