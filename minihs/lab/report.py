"""What an experiment found: tables, verdicts, the story, drawings; as text, JSON or one HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.text import Text

from minihs.lab.evidence import Evidence, Links, decisions_about
from minihs.lab.telling import tell_table
from minihs.lab.transcript import Entry, line
from minihs.lab.watching import Decision, decision_line

if TYPE_CHECKING:
    from minihs.lab.views import RoomView
    from minihs.lab.world import World


class Table(msgspec.Struct):
    """Rows under columns; every cell is text. `note` says how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = []
    note: str = ""

    def add(self, *cells: object) -> None:
        """One more row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(tuple(str(cell) for cell in cells))

    def column(self, name: str) -> list[str]:
        """The cells under one heading."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


class Verdict(msgspec.Struct, frozen=True):
    """Something that was expected, and whether it is so."""

    text: str
    holds: bool


class Drawing(msgspec.Struct, frozen=True):
    """A picture, as SVG."""

    title: str
    svg: str


class Report(msgspec.Struct, kw_only=True):
    """The outcome of one run of an experiment."""

    name: str
    question: str
    seed: int
    method: str = ""
    tables: list[Table] = []
    verdicts: list[Verdict] = []
    transcript: list[Entry] = []
    drawings: list[Drawing] = []
    graphs: list[dict[str, Any]] = []
    decisions: list[Decision] = []
    """What the auth rules were asked, and what they said."""
    cases: list[Evidence] = []
    """What each case of an experiment of many showed."""
    exports: dict[str, bytes] = {}
    """Graphs as the TARDIS visualiser reads them, by file name."""

    def table(self, title: str, *columns: str, note: str = "") -> Table:
        """A new table at the end."""
        table = Table(title, columns, [], note)
        self.tables.append(table)
        return table

    def check(self, text: str, holds: bool) -> bool:
        """Write down whether something that was expected is so."""
        self.verdicts.append(Verdict(text, holds))
        return holds

    @property
    def holds(self) -> bool:
        """Whether everything that was expected is so."""
        return all(verdict.holds for verdict in self.verdicts)

    def to_json(self) -> bytes:
        """Everything but the drawings; the same seed gives the same bytes."""
        content = {
            "name": self.name,
            "question": self.question,
            "method": self.method,
            "seed": self.seed,
            "tables": self.tables,
            "verdicts": self.verdicts,
            "graphs": self.graphs,
            "decisions": self.decisions,
            "transcript": self.transcript,
            "cases": [case.to_json() for case in self.cases],
        }
        return msgspec.json.format(msgspec.json.Encoder(order="deterministic").encode(content), indent=1)

    def show_room(
        self, title: str, views: Sequence[RoomView], *, skip: int = 0, before: Sequence[RoomView] = ()
    ) -> None:
        """A room as servers have it: drawn, in the JSON, and for TARDIS. `before` are the views with which
        the story began: what came since is marked."""
        from minihs.lab.drawing import draw_graphs

        known = {row.event.event_id for view in before for row in view.events}
        self.drawings.append(Drawing(title, draw_graphs(views, skip=skip, known=known)))
        self.graphs += [view.to_json() for view in views]
        self._export(title, views)

    def show_exchange(self, world: World, views: Sequence[RoomView], title: str) -> None:
        """What the servers of a world asked the auth rules about the events of a room, and what went between
        them."""
        self.decisions += decisions_about(world, {view.room_id for view in views})
        self.tables.append(traffic_table(title, world.traffic_by_link()))

    def show_case(self, case: Evidence) -> None:
        """One case of many: told, and for TARDIS if the page has it."""
        self.cases.append(case)
        if case.on_page:
            self._export(f"{case.chapter} {case.title}", case.after)

    def _export(self, title: str, views: Sequence[RoomView]) -> None:
        name = "".join(letter if letter.isalnum() else "-" for letter in title).strip("-").lower()
        for view in views:
            self.exports[f"{name}-{view.server}.ndjson"] = view.to_ndjson()

    def write_exports(self, folder: Path) -> list[Path]:
        """Write the graphs into a folder; the files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.exports.items():
            (folder / name).write_bytes(content)
        return [folder / name for name in self.exports]

    def to_html(self) -> str:
        """One page that needs nothing else."""
        from minihs.lab.page import page

        return page(self)

    def tell(self, console: Console, *, story: bool = False, case: str | None = None) -> None:
        """Tables and verdicts on a terminal, with the `story` before them, or those cases whose title has the
        words of `case`; LookupError when none has."""
        chosen = [each for each in self.cases if _has_words(each, case or "")]
        if case is not None and not chosen:
            raise LookupError(case)
        console.rule(Text(self.name))
        console.print(Text(self.question))
        if self.method:
            console.print(Text(self.method, style="dim"))
        if story:
            for entry in self.transcript:
                console.print(Text(line(entry)), soft_wrap=True)
            for decision in self.decisions:
                console.print(Text(decision_line(decision)), soft_wrap=True)
        for each in chosen if story or case is not None else ():
            _tell_case(console, each)
        for table in self.tables:
            tell_table(console, table)
        for verdict in self.verdicts:
            mark, style = ("✓", "green") if verdict.holds else ("✗", "bold red")
            console.print(Text(f"{mark} {verdict.text}", style=style))
        console.print(Text(f"seed {self.seed}", style="dim"))


def traffic_table(title: str, links: Links) -> Table:
    """What went from whom to whom."""
    table = Table(title, ("from", "to", "requests", "PDUs", "EDUs", "bytes"), [])
    for (source, target), traffic in links.items():
        table.add(source, target, traffic.requests, traffic.pdus, traffic.edus, traffic.bytes)
    return table


def _has_words(case: Evidence, words: str) -> bool:
    there = re.findall(r"[\w'-]+", f"{case.chapter} {case.title}")
    return all(word in there for word in words.split())


def _tell_case(console: Console, case: Evidence) -> None:
    console.rule()
    console.print(Text(f"{case.chapter}: {case.title}", style="bold"))
    for entry in case.transcript:
        console.print(Text(line(entry)), soft_wrap=True)
    for each in case.decisions:
        console.print(Text(decision_line(each)), soft_wrap=True)
    for view in case.after:
        console.print(Text(view.text()), soft_wrap=True)
    if case.traffic:
        tell_table(console, traffic_table("Traffic", case.traffic))
    console.print(Text(f"→ {case.found}", style="bold"))


def per(total: float, count: float) -> str:
    """A mean with one decimal, or a dash when there was nothing."""
    return f"{total / count:.1f}" if count else "–"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 when there is none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]
