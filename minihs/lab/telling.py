"""Tables on a terminal, as wide as it is: no word is ever cut off.

A table that does not fit is turned, so that its rows stand side by side; one that does not fit then either is
told row by row. What a report says is `report`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from minihs.lab.report import Table

MOST_LINES = 6
"""A cell that takes more lines makes its column too narrow to be read."""

FRAME = 3
"""What a column takes beside its text: a line and a space on either side."""


def tell_table(console: Console, table: Table) -> None:
    """A table with its title and note, in the shape that fits."""
    console.print(Text(table.title, style="italic"))
    grid = [table.columns, *table.rows]
    turned = list(zip(*grid, strict=True))
    for shape in (grid, turned):
        widths = _widths(shape, console.width)
        if widths is not None:
            console.print(_framed(shape, widths))
            break
    else:
        _tell_rows(console, table)
    if table.note:
        console.print(Text(table.note, style="dim"))


def _widths(grid: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """How wide each column is, at least as its longest word; None when that does not fit."""
    columns = list(zip(*grid, strict=True))
    room -= FRAME * len(columns) + 1
    least = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    if sum(least) > room:
        return None
    while sum(widths) > room:  # the widest gives way first
        spare = [width if width > most else 0 for width, most in zip(widths, least, strict=True)]
        widths[spare.index(max(spare))] -= 1
    lines = max(_lines(cell, width) for row in grid for cell, width in zip(row, widths, strict=True))
    return widths if lines <= MOST_LINES else None


def _lines(cell: str, width: int) -> int:
    """So many lines a text takes when no word is cut."""
    lines, free = 1, width
    for word in cell.split():
        if len(word) > free:
            lines, free = lines + 1, width
        free -= len(word) + 1
    return lines


def _framed(grid: Sequence[Sequence[str]], widths: Sequence[int]) -> RichTable:
    head, *rows = grid
    framed = RichTable()
    for cell, width in zip(head, widths, strict=True):
        framed.add_column(Text(cell), width=width)
    for row in rows:
        framed.add_row(*(Text(cell) for cell in row))
    return framed


def _tell_rows(console: Console, table: Table) -> None:
    first, *others = table.columns
    margin = max(map(len, others), default=0) + 4
    for name, *cells in table.rows:
        console.print(Text(f"{first}: {name}", style="bold"))
        for column, cell in zip(others, cells, strict=True):
            lines = Text(cell).wrap(console, max(20, console.width - margin))
            for number, line in enumerate(lines or [Text()]):
                label = f"  {'' if number else column}"
                console.print(Text(label.ljust(margin), style="dim") + line)
