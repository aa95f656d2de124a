"""Starts servers that die at a chosen step, or whose writes are recorded: `python -m tests.crash.launcher`.

It imports minihs once and then forks a process for every order that it reads from standard input, one JSON
object a line (see `nursery`). What runs in such a process is `minihs serve` itself; the functions that make
steps durable are wrapped from outside. Every step has a number, counted from the start of the process.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import pickle
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, cast

import minihs.cli
import minihs.cli.serve
import minihs.serve
from minihs.http.channel import ApiHTTPRequest
from tests.crash.observing import number_of, observed_requests
from tests.crash.recorded_disk import Recorder

Step = Callable[[str], None]
READS = ("SELECT", "PRAGMA", "WITH")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CHECKPOINT_PAGES = 24
"""Checkpoints come so often that a short story has some."""


class Countdown:
    """Writes each step to a file, and ends the process as `kill -9` would at the chosen one: the n-th, or the
    last of some that must be seen in order."""

    def __init__(self, file: str, dies_at: int | list[str] | None) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._dies_at = dies_at if isinstance(dies_at, int) else None
        self._awaited = dies_at if isinstance(dies_at, list) else []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        """The process is about to do `what`, or has just done it."""
        with self._lock:
            number = next(self._numbers)
            os.write(self._file, f"{what}\n".encode())
            if number == self._dies_at or self._awaited == [what]:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._awaited and self._awaited[0] == what:
                del self._awaited[0]


class Watched:
    """What is put before the class of every connection; `watch` says which."""


def watch(watched: type[Watched]) -> None:
    """From now on connections to databases are of this class, too, and checkpoint often."""
    module: Any = sqlite3
    connect = module.connect

    def our_connect(
        *args: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **details: Any
    ) -> sqlite3.Connection:
        both = type(watched.__name__, (watched, factory), {})
        connection: sqlite3.Connection = connect(*args, factory=both, **details)
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        return connection

    module.connect = our_connect


def plant(step: Step) -> None:
    """Call `step` around everything that makes something durable, and around replies to numbered requests."""

    class Stepping(Watched):
        def execute(self, sql: str, *params: Any) -> sqlite3.Cursor:
            execute = cast(Any, super()).execute
            words = sql.split()
            if words[0] in READS:
                return cast(sqlite3.Cursor, execute(sql, *params))
            # As in "INSERT INTO futures"; before a statement is after the one that came before it.
            step("before " + " ".join(words[: 2 if words[0] == "UPDATE" else 3]))
            done: sqlite3.Cursor = execute(sql, *params)
            if words[0] == "COMMIT":
                step("after COMMIT")
            return done

    def stepping_respond(http: Any, *args: Any, **details: Any) -> None:
        if number_of(http) is None:
            respond(http, *args, **details)
            return
        step("before the reply is written")
        respond(http, *args, **details)
        step("after the reply is written")
        from twisted.internet import reactor

        later = cast(Any, reactor).callLater
        # The reactor writes to sockets between two turns of timers.
        later(0, later, 0, step, "after the reply has left")

    watch(Stepping)
    request_class: Any = ApiHTTPRequest
    respond = request_class.respond
    request_class.respond = stepping_respond


def serve(order: dict[str, Any]) -> None:
    """What a forked process does."""
    if order["kind"] == "record":
        watch(Watched)
        recorder = Recorder(lambda: time.time_ns() // 1_000_000)
        recorder.install()
        with observed_requests(recorder.note):
            try:
                minihs.cli.main(order["arguments"])
            finally:
                with open(order["record"], "wb") as file:
                    pickle.dump(recorder.log, file)
        return
    if order["kind"] == "steps":
        plant(Countdown(order["steps"], order["dies_at"]).step)
    minihs.cli.main(order["arguments"])


def die_with_parent() -> None:
    """Leave nobody behind when a test run is killed (where the system is Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def born(order: dict[str, Any]) -> None:
    """A new process: its output goes to a file, and it never comes back."""
    code = 1
    try:
        os.setsid()
        die_with_parent()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        serve(order)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - it must not run on as a second parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    """Read orders until there are none: `{"start": …}` answers with a PID, `{"wait": PID}` with how it ended,
    `{"look": PID}` with the same or, while it lives, with null."""
    die_with_parent()
    answer: int | None
    for line in sys.stdin:
        order = json.loads(line)
        if "start" not in order:
            options = os.WNOHANG if "look" in order else 0
            pid, status = os.waitpid(order.get("look") or order["wait"], options)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                born(order["start"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
