"""Scenarios read like stories; what does not hold ends them with everything that is needed to see why."""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from minihs.lab.handles import SCHEDULERS
from minihs.lab.names import UnknownName
from minihs.lab.story import Story, Unfulfilled


def demotion(seed: int = 1) -> Story:
    """The sender is demoted on the other server while the future is pending and the servers are apart."""
    story = Story("Demoted behind a partition", servers=["hs1", "hs2"], seed=seed)
    story.person("alice", on="hs1")
    story.person("bob", on="hs2")
    story.room("tea", made_by="bob", joined_by=["alice"], power={"alice": 50})
    story.schedules(
        "alice", "topic", in_room="tea", event_type="m.room.topic", key="", content={"topic": "t"}, minutes=10
    )
    story.parts(["hs1"], ["hs2"])
    story.gives_power("bob", 0, to="alice", in_room="tea")
    story.waits(minutes=11)
    story.mends()
    story.waits(minutes=5)
    return story


def test_a_story_that_holds_ends_with_a_report_of_verdicts_graphs_lives_and_traffic() -> None:
    story = demotion()
    topic = story.futures["topic"].handle
    outcome = topic.owner.get(f"/_matrix/client/v1/delayed_events/{topic.delay_id}")["finalised"]
    story.expect_standing("hs1", outcome["event_id"], "accepted", in_room="tea")
    story.expect_standing("hs2", outcome["event_id"], "soft-failed", in_room="tea")
    story.expect_agreement("tea")
    report = story.ends()
    assert report.holds
    assert [drawing.title for drawing in report.drawings] == [
        "The room 'tea' in the beginning",
        "The room 'tea' in the end",
        "Futures in time",
    ]
    page = report.to_html()
    assert page.count("<svg") == 3
    assert "apart" in report.drawings[2].svg
    assert ">sent<" in report.drawings[2].svg
    assert [each.rule for each in report.decisions if not each.allowed] == ["v12 8"]
    assert "soft-failed" in page
    assert {row[:2] for row in report.tables[0].rows} == {("hs1", "hs2"), ("hs2", "hs1")}


def test_a_failing_expectation_prints_the_story_both_views_and_the_seed() -> None:
    story = demotion(seed=42)
    with pytest.raises(Unfulfilled) as caught:
        story.expect("alice is still a moderator", False)
    told = str(caught.value)
    for part in (
        "this was expected and is not so: alice is still a moderator",
        "the network parts: hs1 | hs2",
        "bob sets the power of alice to 0",
        "soft-fails by the current state (check 6) topic by @alice:hs1",
        "hs1 has ",
        "hs2 has ",
        "[soft-failed]",
        "The seed is 42.",
    ):
        assert part in told


def test_futures_are_commanded_by_the_names_that_the_story_gave_them() -> None:
    story = Story("Heartbeats", servers=["hs1"])
    story.person("alice", on="hs1")
    story.room("tea", made_by="alice")
    for name in ("kept", "given up", "now"):
        story.schedules("alice", name, in_room="tea", seconds=10)
    story.waits(seconds=8)
    assert story.restarts("kept").ok
    assert story.cancels("given up").ok
    assert story.sends_now("now").ok
    story.expect_seen("alice", "now", in_room="tea")
    story.waits(seconds=8)
    story.expect_unseen("alice", "kept", in_room="tea")
    story.waits(seconds=3)
    story.expect_seen("alice", "kept", in_room="tea")
    story.expect_unseen("alice", "given up", in_room="tea")
    story.ends()
    lives = {name: [moment.mark for moment in each.moments] for name, each in story.futures.items()}
    assert lives == {
        "kept": ["scheduled", "restarted", "sent"],
        "given up": ["scheduled", "cancelled"],
        "now": ["scheduled", "sent"],
    }


@pytest.mark.parametrize("dialect", SCHEDULERS)
def test_the_life_of_a_future_is_drawn_to_its_end_in_every_dialect(dialect: str) -> None:
    story = Story("Lives", servers=["hs1"], settings={"futures.dialects": [dialect]})
    story.person("alice", on="hs1")
    story.room("tea", made_by="alice")
    begun_ms = story.world.now_ms
    for name, seconds in (("soon", 5), ("later", 20)):
        story.schedules("alice", name, in_room="tea", seconds=seconds, dialect=dialect)
    story.sets("alice", "m.room.topic", {"topic": "tea"}, in_room="tea")
    story.waits(seconds=10)
    report = story.ends()
    soon, later = (story.futures[name].moments for name in ("soon", "later"))
    assert [moment.mark for moment in soon] == ["scheduled", "sent"]
    assert begun_ms + 5_000 <= soon[1].at_ms <= begun_ms + 5_100
    assert [moment.mark for moment in later] == ["scheduled"]
    assert (report.drawings[-1].svg.count(">sent<"), report.drawings[-1].svg.count(">waits<")) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("person", "alcie", "alice"),
        ("room", "te", "tea"),
        ("future", "remnider", "reminder"),
        ("dialect", "token", "tokens"),
        ("server", "hs", "hs1"),
    ],
)
def test_an_unknown_name_of_any_kind_is_answered_with_the_nearest(kind: str, wrong: str, right: str) -> None:
    story = Story("Names", servers=["hs1"])
    story.person("alice", on="hs1")
    story.room("tea", made_by="alice")
    story.schedules("alice", "reminder", in_room="tea", hours=1)
    attempts = {
        "person": lambda: story.says(wrong, "x", in_room="tea"),
        "room": lambda: story.says("alice", "x", in_room=wrong),
        "future": lambda: story.restarts(wrong),
        "dialect": lambda: story.schedules("alice", "y", in_room="tea", hours=1, dialect=wrong),
        "server": lambda: story.kills(wrong),
    }
    with pytest.raises(UnknownName) as caught:
        attempts[kind]()
    assert str(caught.value) == f"There is no {kind} called {wrong!r}. Did you mean {right!r}?"


def test_a_server_that_is_killed_and_started_is_part_of_the_story() -> None:
    story = Story("Killed over the due time", servers=["hs1"])
    story.person("alice", on="hs1")
    story.room("tea", made_by="alice")
    story.schedules("alice", "late", in_room="tea", minutes=1)
    story.kills("hs1")
    story.waits(minutes=5)
    story.starts("hs1")
    story.waits(seconds=1)
    story.expect_seen("alice", "late", in_room="tea")
    lines = [entry.text for entry in story.ends().transcript]
    assert "hs1 is killed" in lines
    assert "hs1 is started again" in lines


def test_bad_ways_slow_servers_and_wrong_clocks_are_part_of_the_story() -> None:
    story = Story("Weather", servers=["hs1", "hs2"])
    story.person("alice", on="hs1")
    story.person("bob", on="hs2")
    story.room("tea", made_by="alice", joined_by=["bob"])
    story.sets_clock("hs1", seconds_ahead=-90)
    story.schedules("alice", "bye", in_room="tea", hours=1)
    story.disturbs("hs1", "hs2", loss=0.1, jitter_ms=20)
    story.slows("hs2", ms=300)
    story.cuts("hs1", "hs2", one_way=True)
    story.says("alice", "lost on the way", in_room="tea")
    story.waits(minutes=1)
    story.expect_unseen("bob", "lost on the way", in_room="tea")
    story.mends()
    story.waits(minutes=30)
    story.expect_seen("bob", "lost on the way", in_room="tea")
    report = story.ends()
    assert "hs1 → hs2 cut" in report.drawings[-1].svg
    lines = [entry.text for entry in report.transcript]
    assert "the clock of hs1 is 90 s behind" in lines
    assert "the link hs1 → hs2 is cut" in lines
    with pytest.raises(UnknownName, match="Did you mean 'loss'"):
        story.disturbs("hs1", "hs2", los=0.1)


def test_people_may_send_events_whose_type_has_a_slash() -> None:
    story = Story("Slashes", servers=["hs1"])
    alice = story.person("alice", on="hs1")
    room_id = story.room("tea", made_by="alice")
    story.sets("alice", "org.example/type", {"a": 1}, in_room="tea", key="a/key")
    alice.send_event(room_id, "org.example/message", {"b": 2})
    assert alice.state(room_id)["org.example/type", "a/key"]["content"] == {"a": 1}
    assert alice.messages(room_id)[0]["type"] == "org.example/message"


def test_a_page_shows_hostile_names_as_text_and_needs_nothing_else() -> None:
    hostile = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>&\"'"
    story = Story(hostile, servers=["hs1"])
    story.person("alice", on="hs1")
    story.room(hostile, made_by="alice")
    story.sets("alice", "org.example.<b>type</b>", {}, in_room=hostile, key=hostile)
    story.schedules("alice", hostile, in_room=hostile, seconds=1)
    story.waits(seconds=2)
    story.expect(hostile, True)
    page = story.ends().to_html()
    assert "alert(1)" in page
    for tag in ("<script", "<img", "<b>", "<link", "<iframe"):
        assert tag not in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?http|url\(|@import", page.replace(escape(hostile), ""))
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        root = ElementTree.fromstring(drawing)
        for text in root.iter("{http://www.w3.org/2000/svg}text"):
            assert len("".join(text.itertext())) <= 58, "it would lie over the next server's graph"


def test_the_page_and_the_terminal_tell_each_decision_with_its_rule_and_its_state() -> None:
    report = demotion().ends()
    (refusal,) = [each for each in report.decisions if not each.allowed]
    answer = "refused: the sender has power 0, events of this type need 50 (v12 8)"
    assert refusal.answer == answer
    power = refusal.state["m.room.power_levels|"][:7]
    out = StringIO()
    report.tell(Console(file=out, width=200), story=True)
    (told,) = [line for line in out.getvalue().splitlines() if answer in line]
    assert f"power_levels {power}…" in told
    assert answer in report.to_html()
    assert "allowed (v12 11)" in out.getvalue()
    quiet = StringIO()
    report.tell(Console(file=quiet, width=200))
    assert answer not in quiet.getvalue()
