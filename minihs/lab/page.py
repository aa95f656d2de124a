"""A report as one HTML page that needs nothing else: no script, no other file; text is always text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from minihs.lab.drawing import STYLE, draw_graphs, draw_lives
from minihs.lab.evidence import Evidence
from minihs.lab.report import Drawing, Report, Table, Verdict, traffic_table
from minihs.lab.transcript import Entry, clock_time, readable
from minihs.lab.views import RoomView
from minihs.lab.watching import Decision

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2430;--faint:#6b7483;--edge:#aab2bf;--grid:#e4e8ee;
--card:#f7f8fa;--good:#1f7a4d;--warn:#b86e00;--bad:#b3261e;--blue:#2f5fb3;--differs:#fff3dc;--span:#eceff4}
@media(prefers-color-scheme:dark){:root{--paper:#14181f;--ink:#e6e9ee;--faint:#98a2b3;--edge:#56606f;
--grid:#2a313c;--card:#1b2029;--good:#5cc28d;--warn:#e9a84a;--bad:#f08a80;--blue:#7ea6ee;--differs:#3a3020;
--span:#232a35}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;max-width:80rem;margin:0 auto;padding:2.5rem 1.5rem;
background:var(--paper);color:var(--ink)}h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.15rem;margin:2.4rem 0 .7rem;padding-top:.6rem;border-top:1px solid var(--grid)}
p{max-width:60rem;margin:.5rem 0}.lead{font-size:1.08rem}.method,.note,.seed,caption small{color:var(--faint)}
.note{font-size:.88rem}.seed{font-size:.85rem;margin-top:2.5rem}
.badge{display:inline-block;border-radius:1rem;padding:.12rem .7rem;font-size:.85rem;font-weight:650;
border:1px solid currentColor;margin:.2rem 0 .6rem}.yes{color:var(--good)}.no{color:var(--bad)}
ul.verdicts{list-style:none;padding:0;margin:0}
ul.verdicts li{display:flex;gap:.6rem;padding:.22rem 0;max-width:66rem}
ul.verdicts span{font-weight:700}ul.verdicts div{color:var(--ink)}ul.verdicts .no div{font-weight:650}
.scroll{overflow-x:auto;margin:1rem 0}table{border-collapse:collapse;font-size:.88rem}
caption{text-align:left;font-weight:650;font-size:1rem;padding:.3rem 0}
th{background:var(--card);font-weight:650;position:sticky;top:0}
td,th{border-bottom:1px solid var(--grid);padding:.34rem .7rem;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}tr:hover td{background:var(--card)}
td:first-child{font-weight:500}
figure{margin:1.2rem 0;padding:1rem;border:1px solid var(--grid);border-radius:.6rem;overflow-x:auto}
figcaption{font-weight:650;margin-bottom:.6rem}figure svg{display:block;max-width:none}
.legend{font-size:.82rem;color:var(--faint);margin:.6rem 0 0}
.legend i{display:inline-block;width:.7rem;height:.7rem;
border-radius:50%;margin:0 .3rem 0 .9rem;vertical-align:-.05rem}.legend i:first-child{margin-left:0}
details{margin:.8rem 0}summary{cursor:pointer;font-weight:650}
.log{font:12.5px/1.55 ui-monospace,monospace;overflow-x:auto;margin:.6rem 0}
.log td{border:0;padding:.05rem .8rem .05rem 0;
white-space:pre-wrap}.log td:first-child,.log td:nth-child(2){color:var(--faint);white-space:nowrap}
.log .say td:last-child{font-weight:650}.log .refused td:last-child,.log .bad td:last-child{color:var(--bad)}
.log .network td:last-child{color:var(--warn)}.log .request td:last-child{color:var(--faint)}
h3{font-size:1rem;margin:1.4rem 0 .3rem}details.case{margin:.15rem 0 .15rem .2rem}
details.case summary{font-weight:500}details.case[open]{border-left:3px solid var(--grid);
padding:0 0 1rem .9rem;margin-bottom:1rem}summary span{color:var(--faint);font-size:.9rem;margin-left:.7rem}
.wide td:last-child{color:var(--faint)}
@media print{details{display:block}}
"""

_LEGEND = (
    '<p class=legend><i style="background:var(--good)"></i>accepted<i style="background:var(--warn)"></i>'
    'soft-failed<i style="background:var(--bad)"></i>rejected<i style="border:1.5px solid var(--faint)"></i>'
    "outlier: part of some state, not of its history here · bold: in force now · large ring: a tip · tinted "
    "line: the servers think differently of it</p>"
)
_QUESTIONS = (
    "own: making it; cited: by the auth events it cites (check 4); before: by the state before it (check 5); "
    "current: by the state now (check 6); outlier: as part of the state of a room that was joined. The last "
    "column has what was read."
)
MOST_DECISIONS = 400
MOST_ENTRIES = 150
"""In the story of a case."""
MOST_EVENTS = 40
"""In the drawing of a case."""
MOST_LIVES = 20
SHOWN_BEFORE = 3
"""Of the events that were there before a case, so many are drawn. On the page; the JSON has them all."""


def page(report: Report) -> str:
    """The whole page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{escape(report.name)} – minihs lab</title><style>{_STYLE}</style>",
        f"<h1>{escape(report.name)}</h1>",
    ]
    if report.question != report.name:
        parts.append(f"<p class=lead>{escape(report.question)}</p>")
    if report.method:
        parts.append(f"<p class=method>{escape(report.method)}</p>")
    if report.verdicts:
        parts.append(_verdicts(report.verdicts))
    if report.drawings:
        parts.append("<h2>Pictures</h2>")
        parts += [_figure(drawing) for drawing in report.drawings]
    if report.tables:
        parts.append("<h2>Numbers</h2>")
        parts += [_table(table) for table in report.tables]
    if report.cases:
        parts += _cases(report.cases)
    if report.decisions:
        parts.append(f"<h2>What the auth rules decided</h2><p class=note>{_QUESTIONS}</p>")
        parts.append(_decisions(report.decisions))
    if report.transcript:
        parts.append("<h2>What happened</h2>")
        parts.append(f"<details><summary>{len(report.transcript)} entries</summary>")
        parts.append(f"{_log(report.transcript)}</details>")
    parts.append(f"<p class=seed>seed {report.seed}</p></html>")
    return "".join(parts)


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    held = sum(verdict.holds for verdict in verdicts)
    all_of_them = held == len(verdicts)
    items = []
    for verdict in verdicts:
        mark, name = ("✓", "yes") if verdict.holds else ("✗", "no")
        items.append(f"<li class={name}><span>{mark}</span><div>{escape(verdict.text)}</div></li>")
    return (
        f'<p class="badge {"yes" if all_of_them else "no"}">{held} of {len(verdicts)} hold</p>'
        f"<ul class=verdicts>{''.join(items)}</ul>"
    )


def _figure(drawing: Drawing) -> str:
    legend = _LEGEND if 'class="head"' in drawing.svg else ""
    return f"<figure><figcaption>{escape(drawing.title)}</figcaption>{drawing.svg}{legend}</figure>"


def _table(table: Table) -> str:
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    numeric = [bool(column) and all(map(_is_number, column)) for column in columns]
    head = "".join(_cell("th", *each) for each in zip(table.columns, numeric, strict=True))
    rows = "".join(
        "<tr>" + "".join(_cell("td", *each) for each in zip(row, numeric, strict=True)) + "</tr>"
        for row in table.rows
    )
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    whole = f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>{rows}</table>"
    return f"<div class=scroll>{whole}</div>{note}"


def _cell(tag: str, text: str, numeric: bool) -> str:
    return f"<{tag} class=n>{escape(text)}</{tag}>" if numeric else f"<{tag}>{escape(text)}</{tag}>"


def _is_number(text: str) -> bool:
    return text.lstrip("-−").replace(",", "").replace(".", "").isdigit() or text in ("–", "")


def _decisions(decisions: Sequence[Decision], *, folded: bool = True) -> str:
    refused = sum(not decision.allowed for decision in decisions)
    rows = map(_decision, decisions[:MOST_DECISIONS])
    more = len(decisions) - MOST_DECISIONS
    note = f"<p class=note>and {more} more, which the JSON has</p>" if more > 0 else ""
    return (
        f"<details{'' if folded else ' open'}><summary>Auth rules: {len(decisions)} asked, {refused} refused"
        "</summary>"
        f"<table class='log wide'>{''.join(rows)}</table>{note}</details>"
    )


def _decision(decision: Decision) -> str:
    return (
        f"<tr class={'good' if decision.allowed else 'bad'}><td>{clock_time(decision.at_ms)}<td>"
        f"{escape(decision.server)}<td>{escape(decision.question)}<td>{escape(decision.told)}<td>"
        f"{escape(decision.answer)}<td>{escape(decision.basis)}"
    )


def _cases(cases: Sequence[Evidence]) -> list[str]:
    """Each folded. A drawing takes the style of the first, which is that of the whole page."""
    shown = [case for case in cases if case.on_page]
    parts = [
        f"<h2>Case by case</h2><style>{STYLE}</style>{_LEGEND}",
        f"<p class=note>{_QUESTIONS}</p>",
    ]
    if len(shown) < len(cases):
        parts.append(f"<p class=note>{len(shown)} of {len(cases)} cases; the JSON has all.</p>")
    for chapter in dict.fromkeys(case.chapter for case in shown):
        parts.append(f"<h3>{escape(chapter)}</h3>")
        parts += [_case(case) for case in shown if case.chapter == chapter]
    return parts


def _case(case: Evidence) -> str:
    there = {row.event.event_id for view in case.before for row in view.events}
    now = {row.event.event_id for view in case.after for row in view.events}
    skip, more = max(0, len(there) - SHOWN_BEFORE), len(case.transcript) - MOST_ENTRIES
    parts = [
        f"<details class=case><summary>{escape(case.title)}<span>{escape(case.found)}</span></summary>",
        _log(case.transcript[:MOST_ENTRIES]),
        f"<p class=note>and {more} more, which the JSON has</p>" if more > 0 else "",
        _decisions(case.decisions, folded=False),
        _graphs("Before", case.before, skip, ()),
        _graphs("After", case.after, max(skip, len(there | now) - MOST_EVENTS), there),
        _lives(case),
        _table(traffic_table("Traffic", case.traffic)) if case.traffic else "",
        "</details>",
    ]
    return "".join(parts)


def _lives(case: Evidence) -> str:
    if not case.lives:
        return ""
    ends = [life.moments[-1].at_ms for life in case.lives] + [entry.at_ms for entry in case.transcript[-1:]]
    drawn = draw_lives(case.lives[:MOST_LIVES], max(ends), styled=False)
    more = len(case.lives) - MOST_LIVES
    rest = f", the first {MOST_LIVES} of {len(case.lives)}" if more > 0 else ""
    title = f"Futures, from when their timers were last started{rest}"
    return f"<figure><figcaption>{title}</figcaption>{drawn}</figure>"


def _graphs(title: str, views: Sequence[RoomView], skip: int, known: Collection[str]) -> str:
    skipped = f", without the first {skip} events" if skip else ""
    drawn = draw_graphs(views, skip=skip, known=known, styled=False)
    return f"<figure><figcaption>{title}{skipped}</figcaption>{drawn}</figure>"


def _log(entries: Sequence[Entry]) -> str:
    rows = "".join(
        f"<tr class={escape(entry.kind)}><td>{clock_time(entry.at_ms)}<td>{escape(entry.place)}"
        f"<td>{escape(readable(entry.text))}"
        for entry in entries
    )
    return f"<table class=log>{rows}</table>"
