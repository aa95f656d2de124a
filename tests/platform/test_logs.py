"""What a line of the log looks like, and that nobody else can write one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.logger import LogEvent

from minihs.platform.logs import JsonLog, Logger, TerminalLog


def logged(observer: Any, sentence: str, **values: Any) -> None:
    Logger(namespace="minihs.part", observer=observer).warn(sentence, **values)


def failed(observer: Any, message: str) -> None:
    with Logger(namespace="minihs.part", observer=observer).failuresHandled("it failed"):
        raise ValueError(message)


def test_a_line_has_time_level_part_and_sentence() -> None:
    out = io.StringIO()
    logged(TerminalLog(out), "{room} is full", room="!r:hs")
    [line] = out.getvalue().splitlines()
    time, rest = line.split(" ", 1)
    assert time[:2] == "20"
    assert rest == "WARN  minihs.part: !r:hs is full"


def test_what_others_say_cannot_end_the_line_or_colour_the_terminal() -> None:
    out = io.StringIO()
    logged(TerminalLog(out), "{error}", error="no\r\n2026 info x: forged \x1b[31m \x85 \u2028 \u202e end\x00")
    [line] = out.getvalue().splitlines()
    assert line.endswith(r"no\x0d\x0a2026 info x: forged \x1b[31m \x85 \u2028 \u202e end\x00")


def test_whoever_keeps_an_event_keeps_no_error_and_so_nothing_that_its_traceback_leads_to() -> None:
    kept: list[LogEvent] = []
    logged(kept.append, "{server} failed: {error}", server="hs2", error=ValueError("odd"))
    [event] = kept
    assert (event["server"], event["error"]) == ("hs2", "odd")
    assert event["log_namespace"] == "minihs.part"


def test_a_traceback_stands_indented_below() -> None:
    out = io.StringIO()
    failed(TerminalLog(out), "odd\n2026 info x: forged")
    first, *below = out.getvalue().splitlines()
    assert first.endswith("minihs.part: it failed")
    assert any("ValueError: odd" in line for line in below)
    assert all(line.startswith("    ") for line in below)


def test_a_file_gets_one_object_for_each_event() -> None:
    out = io.StringIO()
    logged(JsonLog(out), "{name}", name="zoë\n\ud800")
    failed(JsonLog(out), "odd")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first.keys() == {"time", "level", "part", "message"}
    assert (first["level"], first["part"], first["message"]) == ("warn", "minihs.part", "zoë\n\ud800")
    assert second["level"] == "critical"
    assert "ValueError: odd" in second["traceback"]
    assert out.getvalue().isascii()


PROGRAM = """
import sys
from pathlib import Path
from twisted.logger import Logger
from twisted.python import log
from minihs.platform.logs import start_logging

file = None if sys.argv[1] == "-" else Path(sys.argv[1])
start_logging("info", {"minihs.loud": "debug", "minihs.quiet": "error"}, file)
for part in ("minihs.loud.one", "minihs.other", "minihs.quiet"):
    for level in ("debug", "info", "error"):
        getattr(Logger(namespace=part), level)(level)
log.msg("twisted says")
"""


def run(file: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, file], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr


def test_each_part_has_its_level_and_twisted_is_quiet(tmp_path: Path) -> None:
    said = [line.split(" ", 1)[1].split() for line in run("-").splitlines()]
    assert said == [
        ["debug", "minihs.loud.one:", "debug"],
        ["info", "minihs.loud.one:", "info"],
        ["ERROR", "minihs.loud.one:", "error"],
        ["info", "minihs.other:", "info"],
        ["ERROR", "minihs.other:", "error"],
        ["ERROR", "minihs.quiet:", "error"],
    ]
    assert run(str(tmp_path / "log")) == ""
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [[line["part"] + ":", line["message"]] for line in lines] == [part[1:] for part in said]
