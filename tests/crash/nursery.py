"""Real servers that die on order, from a test's side: starting, waiting for the end, talking to them.

One nursery holds one launcher; the processes that it forks have the settings of an ordinary `ServerProcess`.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from minihs.processes import ServerProcess
from tests.crash.hands import NUMBER_HEADER, Gone

READY_WITHIN_S = 30.0

KILLED = -9
"""How `kill -9` shows in an exit code."""


class HttpLine:
    """A way to a server process; one connection for each request, so that none is repeated unasked."""

    def __init__(self, server: ServerProcess) -> None:
        self._port = server.client_port

    def call(self, method: str, path: str, body: Any, *, token: str, number: int = 0) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if number:
            headers[NUMBER_HEADER] = str(number)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (http.client.HTTPException, OSError) as error:
            raise Gone from error
        finally:
            connection.close()

    def call_together(
        self, calls: Sequence[tuple[int, str, str, Any]], *, token: str
    ) -> list[tuple[int, Any]]:
        raise NotImplementedError("such stories are told in worlds that nobody else hurries")

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Nursery:
    """Starts processes by a launcher; `close` leaves nothing of it running."""

    def __init__(self) -> None:
        self._launcher = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._alive: set[int] = set()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """End everything that still runs."""
        for pid in sorted(self._alive):
            self.kill(pid)

    def close(self) -> None:
        """End everything that still runs, and the launcher, whatever state they are in."""
        with self._launcher:  # waits for its end
            try:
                self.clear()
            finally:
                self._launcher.kill()  # what it has started dies with it

    def start(self, server: ServerProcess, **details: Any) -> int | None:
        """Start `server` in another way than `ServerProcess.start` does; its PID once it answers requests.

        `kind` is "plain", "steps" (with `steps`, a file, and `dies_at`) or "record" (with `record`, a file).
        None when it was killed before it was ready.
        """
        _, _, _, *arguments = server.command()
        pid: int = self._order({"start": {"arguments": arguments, "log": str(server.log_file), **details}})
        self._alive.add(pid)
        line = HttpLine(server)
        ends = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                line.call("GET", "/_matrix/client/versions", None, token="")
                return pid
            except Gone:
                code = self.exit_code(pid)
                assert code in (None, KILLED), f"{server.label} ended with {code}; see {server.log_file}"
                if code == KILLED:
                    return None
            assert time.monotonic() < ends, f"{server.label} did not start; see {server.log_file}"
            time.sleep(0.005)

    def stop(self, pid: int) -> int:
        """Ask it to end; how it ended."""
        os.kill(pid, signal.SIGTERM)
        return self.wait(pid)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def wait(self, pid: int) -> int:
        """How it ended: its exit code, or a signal as a negative number."""
        self._alive.discard(pid)
        return int(self._order({"wait": pid}))

    def exit_code(self, pid: int) -> int | None:
        """How it ended, as `wait` tells it, and then nobody may wait for it any more; None while it lives."""
        answer = self._order({"look": pid})
        if answer is None:
            return None
        self._alive.discard(pid)
        return int(answer)

    def _order(self, order: dict[str, Any]) -> Any:
        stdin, stdout = self._launcher.stdin, self._launcher.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())
