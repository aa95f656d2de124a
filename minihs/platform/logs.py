"""Logs: where they go and how much of them. Lines on the terminal, JSON in a file; levels for each part.

What is logged is the business of each part; none logs tokens, passwords, bodies or IDs of futures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from twisted import logger as twisted_logger
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    formatTime,
    globalLogBeginner,
)
from zope.interface import implementer

_SHORT = {"debug": "debug", "info": "info", "warn": "WARN", "error": "ERROR", "critical": "CRITICAL"}

QUIET_PARTS = {
    "log_legacy": "warn",  # Twisted's old log: listeners that come and go, which we say ourselves
    "twisted": "warn",
}
"""Levels of what is not ours, unless the settings say otherwise."""

# A name or a sentence from somebody else must not end a line, colour the terminal or turn it around.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))}
_CONTROL |= {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


class LogsUnusable(Exception):
    """The log file cannot be written; the message says why."""


class Logger(twisted_logger.Logger):
    """Twisted's, whose events hold what an error says instead of the error: whoever keeps them, as Twisted
    does until logging begins, would keep its traceback, and all that the code on the way had in hand."""

    def emit(self, level: Any, format: str | None = None, **values: object) -> None:  # noqa: A002
        for name, value in values.items():
            if isinstance(value, Exception):
                values[name] = str(value)
        super().emit(level, format, **values)


@implementer(ILogObserver)
class TerminalLog:
    """One line for each event: time, level, part, sentence; a traceback below, indented."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        name = "info" if level is None else level.name
        part = str(event.get("log_namespace", "-"))
        line = f"{formatTime(event.get('log_time'))} {_SHORT.get(name, name):5} {part}: {_sentence(event)}\n"
        self._out.write(line + _traceback(event))
        self._out.flush()


@implementer(ILogObserver)
class JsonLog:
    """One JSON object for each event: `time` (seconds since the epoch), `level`, `part`, `message`."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        line = {
            "time": event.get("log_time"),
            "level": "info" if level is None else level.name,
            "part": event.get("log_namespace", "-"),
            "message": formatEvent(event),
        }
        if "log_failure" in event:
            line["traceback"] = _traceback(event)
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()


def start_logging(level: str, levels: Mapping[str, str], file: Path | None) -> None:
    """Send the process's logs to `file`, or to standard error. Once for each process. LogsUnusable."""
    wanted = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    for part, part_level in sorted({**QUIET_PARTS, **levels}.items()):
        wanted.setLogLevelForNamespace(part, LogLevel.levelWithName(part_level))
    observer: Any = TerminalLog(sys.stderr) if file is None else JsonLog(_open(file))
    filtered: Any = FilteringLogObserver(observer, [cast(Any, wanted)])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False, discardBuffer=True)


def _open(file: Path) -> IO[str]:
    try:
        return file.open("a", encoding="ascii")
    except OSError as error:
        raise LogsUnusable(f"logging.file: {file} cannot be written: {error.strerror}.") from error


def _sentence(event: LogEvent) -> str:
    return formatEvent(event).translate(_CONTROL)


def _traceback(event: LogEvent) -> str:
    if "log_failure" not in event:
        return ""
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return "".join(f"    {line.translate(_CONTROL)}\n" for line in text.splitlines())
