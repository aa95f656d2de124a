"""Logs: where they go and how much of them. Lines on the terminal, JSON in a file; levels for each part.

What is logged is the business of each part; none logs tokens, passwords, bodies or IDs of futures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

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


@implementer(ILogObserver)
class TerminalLog:
    """One line for each event: time, level, part, sentence; a traceback below where there is one."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        name = "info" if level is None else level.name
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        part = str(event.get("log_namespace", "-"))
        self._out.write(f"{formatTime(event.get('log_time'))} {_SHORT.get(name, name):5} {part}: {text}\n")
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
            line["traceback"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
        self._out.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._out.flush()


def start_logging(level: str, levels: Mapping[str, str], file: Path | None) -> None:
    """Send the process's logs to `file`, or to standard error. Once for each process."""
    wanted = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    for part, part_level in sorted(levels.items()):
        wanted.setLogLevelForNamespace(part, LogLevel.levelWithName(part_level))
    observer: Any = TerminalLog(sys.stderr) if file is None else JsonLog(file.open("a", encoding="utf-8"))
    filtered: Any = FilteringLogObserver(observer, [cast(Any, wanted)])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False, discardBuffer=True)
