"""The figures of one run: said at once, collected, and written as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

_MARKS = {True: "reached", False: "MISSED", None: ""}


@dataclass(frozen=True)
class Row:
    """One figure. `reached` is None where there is nothing to judge by: no target, or no Synapse beside."""

    benchmark: str
    figure: str
    measured: str
    beside: str
    target: str
    reached: bool | None


@dataclass
class Results:
    """What was measured, and which benchmarks came to no result."""

    rows: list[Row] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    benchmark: str = ""

    def report(
        self,
        figure: str,
        measured: str,
        *,
        beside: str = "-",
        target: str = "-",
        reached: bool | None = None,
    ) -> None:
        """Add a figure of the benchmark under way and say it."""
        self.rows.append(Row(self.benchmark, figure, measured, beside, target, reached))
        print(f"  {figure}: {measured}; {beside}; target {target}  {_MARKS[reached]}", flush=True)

    def fail(self, sentence: str) -> None:
        """The benchmark under way came to no result."""
        self.failures[self.benchmark] = sentence
        print(f"  FAILED: {sentence}", flush=True)

    def table(self) -> Table:
        """For the terminal."""
        table = Table("figure", "measured", "beside it", "target", "")
        for row in self.rows:
            table.add_row(row.figure, row.measured, row.beside, row.target, _MARKS[row.reached])
        for name, sentence in self.failures.items():
            table.add_row(name, sentence.splitlines()[0], "-", "-", "FAILED")
        return table

    def markdown(self) -> str:
        """For notes."""
        lines = ["| figure | measured | beside it | target | |", "| --- | --- | --- | --- | --- |"]
        for row in self.rows:
            cells = (row.figure, row.measured, row.beside, row.target, _MARKS[row.reached])
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines += [
            f"| {name} | {sentence.splitlines()[0]} | - | - | FAILED |"
            for name, sentence in self.failures.items()
        ]
        return "\n".join(lines) + "\n"

    def json(self, **about: Any) -> str:
        """For programs; `about` says how it was run."""
        content = {
            "python": platform.python_version(),
            "machine": platform.platform(),
            **about,
            "rows": [asdict(row) for row in self.rows],
            "failures": self.failures,
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
