"""Drawings in SVG: the graph of a room as servers have it, side by side, and the lives of futures in time.

They stand on their own and take the colours of the page that they are on (`page`), dark ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from html import escape

import msgspec

from minihs.events.event import Event
from minihs.lab.transcript import clock_time
from minihs.lab.views import RoomView, standing_word
from minihs.lab.watching import describe
from minihs.store.events import EventRow

ROW, LANE, HEAD = 30, 20, 46
TEXT = 410
"""Room for the words beside a graph."""
WORDS = 46
"""So many characters of them."""

STYLE = (
    "text{font:12px system-ui,sans-serif;fill:var(--ink,#1d2430)}"
    ".head{font-weight:700;font-size:14px}.faint{fill:var(--faint,#6b7483)}.now{font-weight:650}"
    ".edge{fill:none;stroke:var(--edge,#aab2bf);stroke-width:1.6}"
    ".accepted{fill:var(--good,#1f7a4d);stroke:var(--good,#1f7a4d)}"
    ".soft-failed{fill:var(--warn,#b86e00);stroke:var(--warn,#b86e00)}"
    ".rejected,.rejected-outlier{fill:var(--bad,#b3261e);stroke:var(--bad,#b3261e)}"
    ".outlier{fill:var(--paper,#fff);stroke:var(--faint,#6b7483)}"
    "circle{stroke-width:1.6}.tip{fill:none;stroke:var(--ink,#1d2430);stroke-width:1.4}"
    ".band{fill:var(--differs,#fff3dc)}.life{stroke:var(--blue,#2f5fb3);stroke-width:6;stroke-linecap:round}"
    ".beat{stroke:var(--paper,#fff);stroke-width:2}.axis{stroke:var(--edge,#aab2bf)}"
    ".grid{stroke:var(--grid,#e4e8ee)}.span{fill:var(--span,#eceff4)}.begin{fill:var(--blue,#2f5fb3)}"
    ".cancelled{fill:var(--faint,#6b7483)}.sent{fill:var(--good,#1f7a4d)}.failed{fill:var(--bad,#b3261e)}"
)


class Moment(msgspec.Struct, frozen=True):
    """In the life of a future; `mark` is `scheduled`, `restarted`, `sent`, `cancelled` or `failed`."""

    at_ms: float
    mark: str


class Life(msgspec.Struct, frozen=True):
    """A future from its scheduling to its outcome."""

    name: str
    moments: tuple[Moment, ...]


class Span(msgspec.Struct, frozen=True):
    """A while in which something was so, such as a partition."""

    begins_ms: float
    ends_ms: float
    name: str


def draw_graphs(
    views: Sequence[RoomView], *, skip: int = 0, known: Collection[str] = (), styled: bool = True
) -> str:
    """The graph of one room as several servers have it, an event on one line with itself on the others.

    The first `skip` events by depth are left out; those not among the `known`, if any are, are called
    new. Where servers think differently of an event its line is marked; an outlier, which came as part of
    some state and not in its place, is a ring. Without its style (`styled`) it needs a page that has it.
    """
    events: dict[str, Event] = {}
    for view in views:
        for row in view.events:
            events.setdefault(row.event.event_id, row.event)
    order = sorted(events, key=lambda each: (events[each].depth, events[each].origin_server_ts, each))[skip:]
    line = {event_id: HEAD + 14 + ROW * index for index, event_id in enumerate(order)}
    lanes = [_lanes(view, order) for view in views]
    widths = [TEXT + LANE * (max(each.values(), default=0) + 1) for each in lanes]
    height = HEAD + ROW * max(1, len(order)) + 6
    parts = [_bands(views, order, line, sum(widths))]
    left = 0
    for view, lane, width in zip(views, lanes, widths, strict=True):
        parts.append(_graph(view, order, line, lane, left, known))
        left += width
    return _svg(left, height, "".join(parts), STYLE if styled else "")


def _bands(views: Sequence[RoomView], order: Sequence[str], line: dict[str, int], width: int) -> str:
    """A mark behind each event of which the servers do not think alike."""
    parts = []
    for event_id in order:
        words = {_word(view, event_id) for view in views}
        if len(words) > 1 and not words <= {"accepted", "outlier"}:
            y = line[event_id] - ROW // 2
            parts.append(f'<rect x="0" y="{y}" width="{width}" height="{ROW}" class="band"/>')
    return "".join(parts)


def _graph(
    view: RoomView,
    order: Sequence[str],
    line: dict[str, int],
    lanes: dict[str, int],
    left: int,
    known: Collection[str],
) -> str:
    text_x = left + 22 + LANE * (max(lanes.values(), default=0) + 1)
    parts = [
        f'<text x="{left + 12}" y="20" class="head">{escape(view.server)}</text>',
        f'<text x="{left + 12}" y="36" class="faint">{_summary(view)}</text>',
    ]
    at = {event_id: (left + 20 + LANE * lane, line[event_id]) for event_id, lane in lanes.items()}
    rows: dict[str, EventRow] = {row.event.event_id: row for row in view.events}
    for event_id in order:
        for prev in rows[event_id].event.prev_events if event_id in at else ():
            if prev in at:
                (x, y), (px, py) = at[event_id], at[prev]
                parts.append(f'<path d="M{px} {py}C{px} {py + 16},{x} {y - 16},{x} {y}" class="edge"/>')
    for event_id in order:
        if event_id in at:
            parts.append(
                _node(view, rows[event_id], at[event_id], text_x, new=bool(known) and event_id not in known)
            )
        else:
            y = line[event_id] + 4
            parts.append(f'<text x="{text_x}" y="{y}" class="faint">not known here</text>')
    return "".join(parts)


def _node(view: RoomView, row: EventRow, at: tuple[int, int], text_x: int, *, new: bool) -> str:
    (x, y), event, word = at, row.event, standing_word(row.standing)
    current = event.state_key is not None and view.state.get(event.key) == event.event_id
    words, _, short = describe(event).rpartition(" (")
    notes = [short.rstrip(")")]
    if word not in ("accepted", "outlier"):
        notes.insert(0, word)
    if new:
        notes.append("new")
    title = escape(f"{event.event_id} – {word}" + (f": {row.refusal}" if row.refusal else ""))
    room = WORDS - sum(len(note) + 3 for note in notes[1:])
    shown = words if len(words) <= room else words[: room - 1] + "…"
    tip = f'<circle cx="{x}" cy="{y}" r="9" class="tip"/>' if event.event_id in view.extremities else ""
    return (
        f"<g><title>{title}</title>{tip}"
        f'<circle cx="{x}" cy="{y}" r="5.5" class="{word}"/>'
        f'<text x="{text_x}" y="{y + 4}" class="{"now" if current else "was"}">{escape(shown)} '
        f'<tspan class="faint">{escape(" · ".join(notes))}</tspan></text></g>'
    )


def _summary(view: RoomView) -> str:
    words = [standing_word(row.standing) for row in view.events]
    told = [f"{words.count(word)} {word}" for word in sorted(set(words))]
    return f"{', '.join(told)}; {len(view.extremities)} tip{'s' if len(view.extremities) != 1 else ''}"


def _word(view: RoomView, event_id: str) -> str:
    return next((standing_word(row.standing) for row in view.events if row.event.event_id == event_id), "")


def _lanes(view: RoomView, order: Sequence[str]) -> dict[str, int]:
    """A lane for each event: that of the first of its previous events that is a tip yet, or a new one."""
    rows: dict[str, EventRow] = {row.event.event_id: row for row in view.events}
    lanes: dict[str, int] = {}
    tips: dict[int, str] = {}
    for event_id in order:
        if event_id not in rows:
            continue
        prevs = rows[event_id].event.prev_events
        ends = [lane for lane, tip in sorted(tips.items()) if tip in prevs]
        if ends:
            lane = ends[0]
            for other in ends[1:]:
                del tips[other]
        else:
            lane = next(number for number in range(len(tips) + 1) if number not in tips)
        lanes[event_id] = lane
        tips[lane] = event_id
    return lanes


def draw_lives(
    lives: Sequence[Life], until_ms: float, spans: Sequence[Span] = (), *, styled: bool = True
) -> str:
    """Futures as bars in time: scheduled, restarted, and what became of them; `spans` lie behind them."""
    width, label, top = 980, 190, 30 if spans else 12
    begins = min((life.moments[0].at_ms for life in lives), default=0.0)
    length = max(1.0, until_ms - begins)

    def x(ms: float) -> float:
        return round(label + (min(max(ms, begins), until_ms) - begins) / length * (width - label - 60), 1)

    foot = top + 30 * len(lives) + 6
    parts = []
    for span in spans:
        left, right = x(span.begins_ms), x(span.ends_ms)
        if right > left:
            parts.append(
                f'<rect x="{left}" y="16" width="{right - left:.1f}" height="{foot - 16}" class="span"/>'
            )
            parts.append(f'<text x="{left}" y="12" class="faint">{escape(span.name)}</text>')
    for ms in _ticks(begins, until_ms):
        parts.append(f'<path d="M{x(ms)} 16V{foot}" class="grid"/>')
        parts.append(
            f'<text x="{x(ms)}" y="{foot + 16}" text-anchor="middle" class="faint">{_elapsed(ms)}</text>'
        )
    parts.append(f'<path d="M{label} {foot}H{width - 20}" class="axis"/>')
    for index, life in enumerate(lives):
        parts.append(_life(life, top + 15 + index * 30, until_ms, x))
    return _svg(width, foot + 26, "".join(parts), STYLE if styled else "")


def _life(life: Life, y: int, until_ms: float, x: Callable[[float], float]) -> str:
    at = {moment.at_ms: x(moment.at_ms) for moment in life.moments}
    first, last = life.moments[0], life.moments[-1]
    end = at[last.at_ms] if last.mark in _ENDS else x(until_ms)
    parts = [
        f'<text x="8" y="{y + 4}">{escape(life.name[:28])}</text>',
        f'<path d="M{at[first.at_ms]} {y}H{end}" class="life"/>',
    ]
    for moment in life.moments:
        title = escape(f"{moment.mark} at {clock_time(moment.at_ms)}")
        here = at[moment.at_ms]
        if moment.mark in _ENDS:
            shape = f'<circle cx="{here}" cy="{y}" r="7" class="{moment.mark}"/>'
        elif moment.mark == "scheduled":
            shape = f'<circle cx="{here}" cy="{y}" r="5" class="begin"/>'
        else:
            shape = f'<path d="M{here} {y - 4}V{y + 4}" class="beat"/>'
        parts.append(f"<g><title>{title}</title>{shape}</g>")
    word = last.mark if last.mark in _ENDS else "waits"
    parts.append(f'<text x="{end + 11}" y="{y + 4}" class="faint">{word}</text>')
    return "".join(parts)


_ENDS = frozenset({"sent", "cancelled", "failed"})

_STEPS_MS = [
    unit * count
    for unit, counts in (
        (1, (100, 200, 500)),
        (1_000, (1, 2, 5, 10, 15, 30)),
        (60_000, (1, 2, 5, 10, 15, 30)),
        (3_600_000, (1, 2, 4, 6, 12)),
        (86_400_000, (1, 2, 7, 14, 30, 100, 365)),
    )
    for count in counts
]


def _ticks(begins_ms: float, until_ms: float) -> list[float]:
    step = next((each for each in _STEPS_MS if (until_ms - begins_ms) / each <= 8), _STEPS_MS[-1])
    first = -(-int(begins_ms) // step) * step
    return [float(ms) for ms in range(first, int(until_ms) + 1, step)]


def _elapsed(ms: float) -> str:
    """A moment of the axis, as short as it can be said."""
    whole = clock_time(ms)
    day, _, time = whole.rpartition(" ")
    time = time.removesuffix(".000")
    return f"{day} {time.removesuffix(':00')}".strip()


def _svg(width: float, height: float, inside: str, style: str = STYLE) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{style}</style>{inside}</svg>'
    )
