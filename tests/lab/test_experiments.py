"""Every experiment that ships: it finds what its page says. That it repeats itself: `test_repeatable`."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from minihs.cli import main
from minihs.lab.experiments import EXPERIMENTS, Size, run_experiment
from minihs.lab.experiments.auth_at_send_time import CHANGES, WAYS
from minihs.lab.experiments.ghost_zoo import ZOO
from minihs.lab.experiments.zoo_scene import Animal
from minihs.lab.handles import SCHEDULERS
from minihs.lab.measured import drifted, filled, marks
from minihs.lab.names import UnknownName
from minihs.lab.report import Report

played = cache(run_experiment)
"""A run for several tests, which change nothing in its report."""

PAGES = Path(__file__).parents[2] / "docs" / "lab"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_page_with_its_question_method_and_answer(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("## Question", "## Method", "## Answer", f"minihs lab run {name}"):
        assert heading in page


AFFORDABLE = [
    ("demoted", "full"),
    ("ghost-zoo", "full"),
    ("drafts", "full"),
    ("self-destruct", "full"),
    ("presigned", "small"),
    ("msc3277-vs-futures", "small"),
    pytest.param("call-membership", "small", marks=pytest.mark.full),
    pytest.param("presigned", "full", marks=pytest.mark.full),
    pytest.param("auth-at-send-time", "full", marks=pytest.mark.full),
]
"""Pages that are compared with a run; what is missing takes a quarter of an hour (`scripts/lab-pages`)."""


@pytest.mark.parametrize(("name", "size"), AFFORDABLE)
def test_a_page_tells_the_numbers_of_a_run_with_the_seed_that_it_names(name: str, size: Size) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert "--seed 1`" in page
    assert marks(page, size)
    assert drifted(page, played(name, seed=1, size=size), size) == []


def test_a_mark_for_a_table_that_no_run_has_is_an_error() -> None:
    report = Report(name="drafts", question="", seed=1)
    report.table("Costs", "what", "bytes").add("all", 12)
    page = "<!-- table: Costs -->\n| old |\n\n<!-- small table: Costs -->\n"
    assert filled(page, report, "full") == (
        "<!-- table: Costs -->\n| what | bytes |\n| --- | --- |\n| all | 12 |\n\n"
        "<!-- small table: Costs -->\n"
    )
    assert (
        drifted("<!-- table: Costs -->\n| what | bytes |\n| --- | --- |\n| all | 13 |\n", report, "full")
        == []
    )
    (line,) = drifted(
        "<!-- table: Costs -->\n| what | bytes |\n| --- | --- |\n| all | 14 |\n", report, "full"
    )
    assert line == "| all | 14 |\n| all | 12 |"
    with pytest.raises(LookupError, match="no table 'Cost'; it has: Costs"):
        filled("<!-- table: Cost -->\n", report, "full")


def test_the_matrix_of_rights_has_every_change_and_every_way() -> None:
    report = played("auth-at-send-time", seed=2, size="small")
    tables = {table.title: table for table in report.tables}
    at_send = tables["Authorised at send"]
    cells = {row[0]: dict(zip(WAYS, row[1:], strict=True)) for row in at_send.rows}
    assert list(cells) == [change.name for change in CHANGES]
    assert cells["nothing"]["here"] == "sent; hs2: accepted; in force"
    assert cells["right lost"]["there"] == "refused when due (v12 8)"
    assert cells["right lost"]["there, late"] == "sent; hs2: soft-failed (v12 8); in force on none"
    assert cells["right gained"]["here"] == "sent; hs2: accepted; in force"
    at_schedule = {row[0]: row[1] for row in tables["Authorised at schedule"].rows}
    assert at_schedule["right gained"] == "refused when scheduled (v12 8)"
    assert at_schedule["right lost"].startswith("sent; hs2: rejected")
    assert cells["a right never held"]["here"] == "refused when due (v12 8)"
    assert len(tables["In all rooms"].rows) == 15


def test_every_room_of_the_matrix_is_told_with_both_servers_graphs_decisions_and_traffic() -> None:
    report = played("auth-at-send-time", seed=2, size="small")
    cases = {(case.chapter, case.title): case for case in report.cases}
    assert len(cases) == len(report.cases) == 3 * len(WAYS) * len(CHANGES)
    late = cases["authorised at send, made there, late", "right lost, version 12"]
    assert [len(view.events) for view in (*late.before, *late.after)] == [8, 8, 10, 10]
    assert late.after[1].standing(late.decisions[1].event_id) == "soft-failed"
    asked = [(each.server, each.question, each.type, each.rule) for each in late.decisions]
    assert asked[1] == ("hs1", "own", "org.example.note", "v12 11")
    assert asked[-1] == ("hs2", "current", "org.example.note", "v12 8")
    assert late.decisions[-1].state["m.room.power_levels|"] == late.decisions[0].event_id
    assert {link: traffic.pdus for link, traffic in late.traffic.items() if traffic.pdus} == {
        ("hs1", "hs2"): 1,
        ("hs2", "hs1"): 1,
    }
    told = [entry.text for entry in late.transcript if entry.kind in ("say", "network")]
    assert told == [
        "sam schedules org.example.note, due in 10 minutes",
        "the network parts: hs1 | hs2",
        "right lost, made there, late",
        "the network is mended",
        f"in the end: {late.found}",
    ]
    refused = cases["authorised at both, made here", "a right never held, version 12"]
    assert [(each.question, each.allowed) for each in refused.decisions] == [("own", False)]
    assert len(report.to_html()) < 2_500_000


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_a_failure_of_the_field_is_absent_here_and_shows_with_its_cause(animal: Animal) -> None:
    assert (animal.look(11, False).shows, animal.look(11, True).shows) == (False, True)


def test_every_failure_of_the_field_is_told_with_its_requests_decisions_graphs_and_traffic() -> None:
    report = played("ghost-zoo", seed=1, size="full")
    chapters = list(dict.fromkeys(case.chapter for case in report.cases))
    assert [chapter.split(":")[0] for chapter in chapters] == [animal.name for animal in ZOO]
    for case in report.cases:
        assert {"say", "request"} <= {entry.kind for entry in case.transcript}, case.title
        assert [view.server for view in case.before] == ["hs1"]
        known = {row.event.event_id for row in case.before[0].events}
        new = {row.event.event_id for row in case.after[0].events} - known
        assert {each.event_id for each in case.decisions} >= new, case.title
        assert case.traffic["alice", "hs1"].requests > 0
    lost, page = report.cases[1], report.to_html()
    assert (lost.found, lost.decisions, lost.lives) == ("0 of 1 came", [], [])
    (kept,) = report.cases[0].lives
    assert [moment.mark for moment in kept.moments] == ["scheduled", "sent"]
    assert kept.moments[1].at_ms - kept.moments[0].at_ms == pytest.approx(3_600_000, abs=5)
    assert page.count("<details class=case>") == len(report.cases) == 28
    assert len(page) < 1_000_000
    assert len(json.loads(report.to_json())["cases"]) == len(report.cases)


def test_a_leave_signed_in_advance_is_told_with_what_each_server_made_of_it() -> None:
    report = played("presigned", seed=1, size="small")
    told = {case.title: case for case in report.cases}
    banned = told["Alice is banned"]
    future, refused = (each for each in banned.decisions if not each.allowed)
    assert (future.server, future.question, future.rule) == ("hs1", "own", "v12 6")
    assert (refused.server, refused.question, refused.rule) == ("hs2", "current", "v12 6")
    assert banned.after[1].standing(refused.event_id) == "soft-failed"
    assert banned.before[1].standing(refused.event_id) == "unknown"
    lines = [entry.text for entry in banned.transcript if entry.kind in ("say", "network")]
    assert lines[-3:] == ["meanwhile: Alice is banned", "hs1 is killed", "hs1 is started again"]
    assert {"bob", "hs1", "hs2"} <= {name for link in banned.traffic for name in link}
    assert len(report.to_html()) < 1_000_000


def test_the_call_is_told_in_every_dialect_that_can_schedule() -> None:
    report = played("drafts", seed=1, size="full")
    table = report.tables[0]
    assert table.column("dialect") == list(SCHEDULERS)
    wrong = report.tables[1]
    ended = dict(zip(wrong.column("dialect"), wrong.column("own change ends the leave"), strict=True))
    assert (ended["tokens"], ended["merged"]) == ("yes", "no")
    whole = {case.title: case for case in report.cases if case.chapter == "The whole call"}
    assert list(whole) == list(SCHEDULERS)
    for dialect, case in whole.items():
        assert [view.server for view in case.after] == ["hs1", "hs2"]
        pdus = case.traffic["hs1", "hs2"].pdus
        assert len(case.after[0].events) - len(case.before[0].events) == pdus, dialect
        assert {each.server for each in case.decisions} == {"hs1", "hs2"}
    assert "her leave is gone: alice schedules another" in [each.text for each in whole["tokens"].transcript]


def test_an_unknown_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ghost-zoo'"):
        run_experiment("ghostzoo")
    result = CliRunner().invoke(main, ["lab", "run", "draft"])
    assert result.exit_code == 1
    assert "Did you mean 'drafts'?" in result.output


def test_the_command_lists_runs_and_writes(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["lab", "list"])
    assert [line.split()[0] for line in listed.output.splitlines()] == list(EXPERIMENTS)
    as_json, as_html = tmp_path / "zoo.json", tmp_path / "zoo.html"
    arguments = ["lab", "run", "ghost-zoo", "--seed", "5", "--json", str(as_json), "--html", str(as_html)]
    result = CliRunner().invoke(main, [*arguments, "--case", "twice before 2 cause"])
    assert result.exit_code == 0, result.output
    assert result.output.count("hs1 will be killed before commit 2 from now") == 1
    assert "→ 2 of 1 came" in result.output
    assert "✓ lost on restart" in result.output
    assert json.loads(as_json.read_bytes())["seed"] == 5
    assert "<script" not in as_html.read_text(encoding="utf-8")
    unknown = CliRunner().invoke(main, ["lab", "run", "demoted", "--case", "thrice"])
    assert unknown.exit_code == 1
    assert "demoted has no case with these words: thrice" in unknown.output
    for option, path, sentence in (
        ("--json", tmp_path / "no" / "file.json", "cannot be written"),
        ("--ndjson", as_json / "graphs", "cannot be made: Not a directory"),
    ):
        nowhere = CliRunner().invoke(main, [*arguments[:3], option, str(path)])
        assert nowhere.exit_code == 1
        assert sentence in nowhere.output
        assert "✓" not in nowhere.output, "it was played before the file was looked at"


def test_files_are_written_though_no_case_has_the_words(tmp_path: Path) -> None:
    as_json = tmp_path / "demoted.json"
    result = CliRunner().invoke(main, ["lab", "run", "demoted", "--case", "thrice", "--json", str(as_json)])
    assert result.exit_code == 1
    assert json.loads(as_json.read_bytes())["seed"] == 1


@pytest.mark.process
def test_an_interpreter_without_a_synapse_is_named_with_what_it_said() -> None:
    arguments = ["lab", "run", "demoted", "--real", "--synapse", sys.executable]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert (
        f"Error: {sys.executable} cannot run a Synapse. Has its environment matrix-synapse?" in result.output
    )
    assert "No module named 'synapse'" in result.output


def test_the_first_experiment_of_the_manual_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    manual = (PAGES.parent / "lab.md").read_text(encoding="utf-8")
    code = manual.split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/lab.md", "exec"), {})
    told = capsys.readouterr().out
    assert "[soft-failed]" in told
    assert "the servers agree" in told
    assert "hs2 current v12 8" in told
