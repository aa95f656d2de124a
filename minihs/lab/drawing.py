"""Drawings in SVG: the graph of a room as servers have it, side by side, and the lives of futures in time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

from minihs.lab.transcript import clock_time
from minihs.lab.views import RoomView, standing_word
from minihs.lab.watching import describe
from minihs.store.events import EventRow

ROW, COLUMN, LANE = 34, 420, 26
COLOURS = {
    "accepted": "#2b7a4b",
    "soft-failed": "#c77700",
    "rejected": "#b3261e",
    "outlier": "#777777",
    "rejected-outlier": "#b3261e",
}


class Moment(msgspec.Struct, frozen=True):
    """In the life of a future; `mark` is `scheduled`, `restarted`, `sent`, `cancelled` or `failed`."""

    at_ms: float
    mark: str


class Life(msgspec.Struct, frozen=True):
    """A future from its scheduling to its outcome."""

    name: str
    moments: tuple[Moment, ...]


def draw_graphs(views: Sequence[RoomView], *, skip: int = 0) -> str:
    """The graph of one room as several servers have it; the first `skip` events by depth are left out."""
    columns = [_graph(view, index * COLUMN, skip) for index, view in enumerate(views)]
    height = 40 + ROW * max((len(view.events) - skip for view in views), default=0)
    return _svg(COLUMN * len(views), height, "".join(columns))


def _graph(view: RoomView, left: int, skip: int) -> str:
    rows = [row for row in view.events if not row.standing.is_outlier][skip:]
    lanes = _lanes(rows)
    at = {
        row.event.event_id: (left + 20 + LANE * lanes[row.event.event_id], 44 + ROW * index)
        for index, row in enumerate(rows)
    }
    parts = [f'<text x="{left + 12}" y="20" class="title">{escape(view.server)}</text>']
    for row in rows:
        x, y = at[row.event.event_id]
        for prev in row.event.prev_events:
            if prev in at:
                px, py = at[prev]
                parts.append(f'<path d="M{px} {py} C{px} {py + 18},{x} {y - 18},{x} {y}" class="edge"/>')
    text_x = left + 34 + LANE * max(lanes.values(), default=0)
    for row in rows:
        x, y = at[row.event.event_id]
        word = standing_word(row.standing)
        ring = ' stroke="#000" stroke-width="2"' if row.event.event_id in view.extremities else ""
        label = describe(row.event) + ("" if word == "accepted" else f" – {word}")
        parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{COLOURS[word]}"{ring}/>')
        parts.append(f'<text x="{text_x}" y="{y + 4}">{escape(label[:56])}</text>')
    return "".join(parts)


def _lanes(rows: Sequence[EventRow]) -> dict[str, int]:
    """A lane for each event: that of the first of its previous events that is a tip yet, or a new one."""
    lanes: dict[str, int] = {}
    tips: dict[int, str] = {}
    for row in rows:
        event_id = row.event.event_id
        ends = [lane for lane, tip in sorted(tips.items()) if tip in row.event.prev_events]
        if ends:
            lane = ends[0]
            for other in ends[1:]:
                del tips[other]
        else:
            lane = next(number for number in range(len(tips) + 1) if number not in tips)
        lanes[event_id] = lane
        tips[lane] = event_id
    return lanes


def draw_lives(lives: Sequence[Life], until_ms: float) -> str:
    """Futures as bars in time: scheduled, restarted, and what became of them."""
    width, label = 900, 200
    begins = min((life.moments[0].at_ms for life in lives), default=0.0)
    span = max(1.0, until_ms - begins)

    def x(ms: float) -> float:
        return round(label + (ms - begins) / span * (width - label - 20), 1)

    parts = []
    for index, life in enumerate(lives):
        y = 30 + index * 26
        first, last = life.moments[0], life.moments[-1]
        end = last.at_ms if last.mark in _ENDS else until_ms
        parts.append(f'<text x="8" y="{y + 4}">{escape(life.name[:28])}</text>')
        parts.append(f'<path d="M{x(first.at_ms)} {y} H{x(end)}" class="life"/>')
        for moment in life.moments:
            colour = _ENDS.get(moment.mark, "#335c99")
            title = escape(f"{moment.mark} at {clock_time(moment.at_ms)}")
            parts.append(
                f'<circle cx="{x(moment.at_ms)}" cy="{y}" r="{6 if moment.mark in _ENDS else 3}" '
                f'fill="{colour}"><title>{title}</title></circle>'
            )
    foot = 40 + 26 * len(lives)
    parts.append(f'<text x="{label}" y="{foot}">{clock_time(begins)}</text>')
    parts.append(f'<text x="{width - 110}" y="{foot}">{clock_time(until_ms)}</text>')
    return _svg(width, foot + 12, "".join(parts))


_ENDS = {"sent": "#2b7a4b", "cancelled": "#777777", "failed": "#b3261e"}


def _svg(width: int, height: int, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>text{{font:12px sans-serif}}.title{{font-weight:bold}}'
        ".edge{fill:none;stroke:#999}.life{stroke:#335c99;stroke-width:2}</style>"
        f"{inside}</svg>"
    )
