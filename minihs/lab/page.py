"""A report as one HTML page that needs nothing else: no script, no other file; text is always text."""

from __future__ import annotations

from html import escape

from minihs.lab.report import Report, Table
from minihs.lab.transcript import line

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}td,th{border:1px solid #ccc;padding:.25rem .5rem;
text-align:left;vertical-align:top}caption{text-align:left;font-weight:bold;padding:.25rem 0}
.yes{color:#2b7a4b}.no{color:#b3261e;font-weight:bold}.note,.seed{color:#666}pre{overflow-x:auto;font-size:.8rem}
figure{margin:1rem 0;overflow-x:auto}
"""


def page(report: Report) -> str:
    """The whole page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{escape(report.name)} – minihs lab</title><style>{_STYLE}</style>",
        f"<h1>{escape(report.name)}</h1><p>{escape(report.question)}</p>",
    ]
    if report.method:
        parts.append(f"<p>{escape(report.method)}</p>")
    if report.verdicts:
        parts.append("<h2>Verdicts</h2><ul>")
        for verdict in report.verdicts:
            mark, name = ("✓", "yes") if verdict.holds else ("✗", "no")
            parts.append(f"<li class={name}>{mark} {escape(verdict.text)}</li>")
        parts.append("</ul>")
    parts += [_table(table) for table in report.tables]
    for drawing in report.drawings:
        parts.append(f"<figure><figcaption>{escape(drawing.title)}</figcaption>{drawing.svg}</figure>")
    if report.transcript:
        lines = "\n".join(line(entry) for entry in report.transcript)
        parts.append(f"<h2>What happened</h2><details><summary>{len(report.transcript)} entries</summary>")
        parts.append(f"<pre>{escape(lines)}</pre></details>")
    parts.append(f"<p class=seed>seed {report.seed}</p></html>")
    return "".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>{rows}</table>{note}"
