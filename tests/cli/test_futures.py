"""`minihs futures …` beside a running server and without one, as processes of their own; what it prints."""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from minihs.cli import administration
from minihs.cli.futures import _explanation, _portrait, _row, _span
from minihs.cli.futures import futures as futures_command
from minihs.demo.client import Client
from tests.support.commands import minihs
from tests.support.processes import Stage

V3 = "/_matrix/client/v3"


def ok(*args: object) -> str:
    ended = minihs("futures", *args)
    assert ended.code == 0, ended.err
    return ended.out


@pytest.mark.process
def test_futures_are_found_explained_and_cancelled_whether_the_server_runs_or_not(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    server = stage.minihs("hs")
    where = ("--data-dir", server.data_dir)
    alice = Client("127.0.0.1", server.client_port)
    try:
        server.start()
        alice.register("alice", "a long password")
        room_id = alice.request("POST", f"{V3}/createRoom", {})["room_id"]
        ids = []
        for number in range(2):
            path = f"{V3}/rooms/{room_id}/delayed_event/m.room.message/{number}"
            body = {"delay_ms": 3_600_000, "content": {"msgtype": "m.text", "body": "later"}}
            ids.append(alice.request("PUT", path, body)["delay_id"])

        # Beside the running server.
        rows = ok("list", *where).splitlines()
        assert [row.split()[0] for row in rows] == ["1", "2"]
        assert all(f"@alice:{server.server_name}  m.room.message  {room_id}  due in " in row for row in rows)
        assert [json.loads(line)["delay_id"] for line in ok("list", "--json", *where).splitlines()] == ids
        assert ok("list", "--room", "!another", *where) == ok("list", "--finalised", *where) == ""
        assert '{"msgtype":"m.text","body":"later"}' in ok("show", "1", *where)
        said = ok("explain", ids[0], *where)
        assert "Would it be sent now? Yes: Rule v12 11 allows it." in said
        assert "cancelled (administrator)" in ok("cancel", ids[0], *where)
        ended = minihs("futures", "show", "3", *where)
        assert (ended.code, ended.err) == (1, "Error: There is no such delayed event.\n")
        ended = minihs("futures", "list", "--user", "nobody", *where)
        assert (ended.code, ended.err) == (1, "Error: There is no user nobody on this server.\n")
        assert len(ok("list", "--user", "alice", *where).splitlines()) == 1

        # Without it.
        server.stop()
        told = json.loads(ok("explain", "--json", "2", *where))
        assert (told["would_be_sent"], told["rule"]) == (True, "v12 11")
        ok("cancel", "2", *where)
        server.start()
        assert [row.split()[0] for row in ok("list", "--finalised", *where).splitlines()] == ["1", "2"]
        outcome = alice.request("GET", f"/_matrix/client/v1/delayed_events/{ids[1]}")["finalised"]
        assert "event_id" not in outcome
    finally:
        alice.close()
        stage.close()


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0.0 s"),
        (850, "0.8 s"),
        (9_999, "10.0 s"),
        (59_999, "59 s"),
        (60_000, "1 min"),
        (725_000, "12 min 5 s"),
        (3_600_000, "1 h"),
        (86_399_000, "23 h 59 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_spans_have_two_units_at_most(span_ms: int, text: str) -> None:
    assert _span(span_ms) == text


FUTURE: dict[str, Any] = {
    "id": 7,
    "user_id": "@alice:hs1",
    "room_id": "!room",
    "type": "m.call.member",
    "state_key": "@alice:hs1",
    "delay_ms": 10_000,
    "due_in_ms": 4_000,
    "dialect": "tokens",
    "cancel_rule": "any",
    "group": {"id": 7, "name": "call"},
    "status": "scheduled",
    "content": {},
}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "due in 4.0 s"),
        ({"due_in_ms": 0}, "overdue"),
        ({"due_in_ms": None}, "waits for an action"),
        ({"finalised": {"event_id": "$sent", "cause": "delay"}}, "sent as $sent"),
        ({"finalised": {"error": {"errcode": "M_FORBIDDEN"}, "cause": "delay"}}, "failed with M_FORBIDDEN"),
        ({"finalised": {"cause": "group"}}, "cancelled (group)"),
    ],
)
def test_a_row_says_whose_what_where_and_when(changes: dict[str, Any], state: str) -> None:
    future = {**FUTURE, **changes}
    assert _row(future) == f"7  @alice:hs1  m.call.member '@alice:hs1'  !room  {state}  tokens"
    assert re.search(rf"^  outcome +{re.escape(state)}$", _portrait(future), re.MULTILINE)


def test_what_users_wrote_cannot_move_the_cursor() -> None:
    nasty = {**FUTURE, "type": "a\x1b[2Jb\nc", "state_key": "\r", "content": {"k": "\u202e\x9b"}}
    check = {
        "check": "auth rules",
        "passes": False,
        "says": "no\x1b[31m",
        "error": {"errcode": "M_FORBIDDEN"},
    }
    event = {"event_id": "$1", "type": "m.x", "state_key": "\x1b", "sender": "@a:b", "summary": "\x07"}
    told = {
        "future": nasty,
        "would_be_sent": False,
        "decided_by": "auth rules",
        "checks": [check],
        "events": [event],
    }
    for shown in (_row(nasty), _portrait(nasty), _explanation(told)):
        assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert "\n" not in _row(nasty)
    assert "Would it be sent now? No: no\\x1b[31m\nIts owner would read M_FORBIDDEN." in _explanation(told)


def test_what_another_server_decides_is_said_so() -> None:
    check = {"check": "another server", "passes": None, "says": "Another server must let the user in."}
    told = {
        "future": FUTURE,
        "would_be_sent": None,
        "decided_by": "another server",
        "checks": [check],
        "events": [],
    }
    said = _explanation(told)
    assert "Would it be sent now? Another server decides: Another server must let the user in." in said
    assert "looked at" not in said


def test_a_reader_that_has_seen_enough_is_not_taken_for_a_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Answering:
        def call(self, *_: object) -> dict[str, Any]:
            return {"futures": [{"room_id": "!r"}]}

    @contextmanager
    def answering(_: object) -> Iterator[Answering]:
        yield Answering()

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(administration, "administration", answering)
    module = sys.modules["minihs.cli.futures"]  # the package has the command by this name
    monkeypatch.setattr(module, "chosen_settings", lambda **_: None)
    command = ["list", "--json"]
    heard = CliRunner().invoke(futures_command, command)
    assert (heard.exit_code, heard.output) == (0, '{"room_id":"!r"}\n')
    monkeypatch.setattr(click, "echo", gone)
    unheard = CliRunner().invoke(futures_command, command)
    assert (unheard.exit_code, unheard.output) == (1, "")


def test_a_server_that_cannot_be_reached_is_said_to_give_no_answer(tmp_path: Path) -> None:
    with pytest.raises(administration.NoAnswer, match=r"The server did not answer: .*No such file"):
        administration.AdminClient(tmp_path / "admin.sock").call("GET", "/")
