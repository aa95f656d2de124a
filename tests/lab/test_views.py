"""What servers believe can be looked at, compared, exported and drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from minihs.lab import World
from minihs.lab.drawing import Life, Moment, Span, draw_graphs, draw_lives
from minihs.lab.report import Report, percentile
from minihs.lab.transcript import clock_time
from minihs.lab.views import RoomView, differences, view_of


@pytest.fixture(scope="module")
def views() -> list[RoomView]:
    """A room that forked behind a partition, on both servers, before they met again."""
    world = World(["hs1", "hs2"])
    alice, bob = world.user("alice", on="hs1"), world.user("bob", on="hs2")
    room_id = alice.create_room(power_level_content_override={"state_default": 0})
    bob.join(room_id, "hs1")
    world.settle()
    world.partition(["hs1"], ["hs2"])
    alice.set_state(room_id, "m.room.topic", {"topic": "<a>"})
    bob.set_state(room_id, "m.room.topic", {"topic": "b"})
    world.advance(seconds=5)
    apart = [view for name in world.servers if (view := view_of(world[name], room_id))]
    world.heal()
    world.advance(minutes=10)
    together = [view for name in world.servers if (view := view_of(world[name], room_id))]
    return [*apart, *together]


def test_servers_that_are_apart_differ_in_words_and_agree_when_they_met(views: list[RoomView]) -> None:
    (difference,) = differences(views[:2])
    assert re.fullmatch(r"m\.room\.topic: hs1 has \$.{6}…, hs2 has \$.{6}…", difference)
    assert differences(views[2:]) == []


def test_a_room_that_a_server_does_not_know_has_no_view() -> None:
    assert view_of(World(["hs1"])["hs1"], "!nowhere") is None


def test_the_export_has_a_pdu_with_its_id_on_each_line_causes_first(views: list[RoomView]) -> None:
    lines = [json.loads(line) for line in views[2].to_ndjson().splitlines()]
    assert len(lines) == len(views[2].events)
    seen: set[str] = set()
    for pdu in lines:
        assert set(pdu["prev_events"]) <= seen
        assert {"type", "sender", "depth", "auth_events", "content", "hashes"} <= set(pdu)
        seen.add(pdu["event_id"])


def test_drawings_are_well_formed_and_text_stays_text(views: list[RoomView]) -> None:
    graphs = ElementTree.fromstring(draw_graphs(views))
    circles = [each for each in graphs.iter() if each.tag.endswith("circle") and each.get("class") != "tip"]
    assert len(circles) == sum(len(view.events) for view in views)
    lives = [Life("<leave>", (Moment(0, "scheduled"), Moment(5_000, "restarted"), Moment(15_000, "sent")))]
    ElementTree.fromstring(draw_lives(lives, 20_000))
    assert "<leave>" not in draw_lives(lives, 20_000)


def test_an_event_is_on_the_same_line_for_all_and_marked_where_they_differ(views: list[RoomView]) -> None:
    apart = draw_graphs(views[:2])
    assert apart.count("not known here") == 2
    assert apart.count('class="band"') == 2
    together = draw_graphs(views[2:])
    assert 'class="band"' not in together
    drawn = ElementTree.fromstring(together)
    circles = [each for each in drawn.iter() if each.tag.endswith("circle") and each.get("class") != "tip"]
    heights = [each.get("cy") for each in circles]
    assert heights[: len(heights) // 2] == heights[len(heights) // 2 :]
    since = draw_graphs(views[2:], known={row.event.event_id for row in views[0].events})
    assert since.count("· new") == 2


def test_a_time_line_has_an_axis_and_shades_what_lay_behind() -> None:
    lives = [Life("leave", (Moment(0, "scheduled"), Moment(5_000, "sent")))]
    drawn = draw_lives(lives, 20_000, [Span(1_000, 2_000, "<apart>")])
    ElementTree.fromstring(drawn)
    assert "&lt;apart&gt;" in drawn
    assert [word for word in ("00:00:05", "00:00:20") if f">{word}<" in drawn] == ["00:00:05", "00:00:20"]


def test_a_room_that_is_shown_is_drawn_told_and_exported(views: list[RoomView], tmp_path: Path) -> None:
    report = Report(name="tea", question="?", seed=1)
    report.show_room("The room 'tea'", views[2:], before=views[:2])
    first, second = report.write_exports(tmp_path / "graphs")
    assert (first.name, second.name) == ("the-room--tea-hs1.ndjson", "the-room--tea-hs2.ndjson")
    assert first.read_bytes() == views[2].to_ndjson()
    assert len(json.loads(report.to_json())["graphs"]) == 2


def test_a_page_shows_what_was_said_as_text() -> None:
    report = Report(name="<script>", question="1 < 2", seed=1)
    report.table("<t>", "<c>").add("<cell>")
    report.check("<verdict>", False)
    page = report.to_html()
    assert "<script>" not in page
    assert "<cell>" not in page
    assert "&lt;verdict&gt;" in page
    assert not report.holds


def test_a_row_must_have_a_cell_for_each_column() -> None:
    table = Report(name="n", question="q", seed=1).table("t", "one", "two")
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table.add("x")


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0), ([7], 0.99, 7), ([3, 1, 2, 4], 0.5, 2), (list(range(1, 101)), 0.99, 99), ([1, 2], 1.0, 2)],
)
def test_percentiles_are_values_that_occurred(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_times_are_written_as_people_read_them() -> None:
    assert clock_time(93_784_005.4) == "1d 02:03:04.005"
