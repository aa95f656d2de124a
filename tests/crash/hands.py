"""Clients at work: each hand asks for one thing after the other and writes down what it is told.

Requests carry the number that they have in the ledger, so that a record of the server's side can be matched.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from tests.crash.ledger import Act, Ledger, Plan
from tests.crash.shapes import CLIENT, DIALECTS, IN_SECONDS, SECOND_MS

NUMBER_HEADER = "X-Request-Number"
"""Names a request in records of the server's side; the server itself knows nothing of it."""

PAGE = 500
"""More events than any room of a test has."""


class Gone(Exception):
    """The server is dead: no reply will come."""


class Line(Protocol):
    """A way to a server."""

    def call(self, method: str, path: str, body: Any, *, token: str, number: int) -> tuple[int, Any]:
        """Status and JSON of the reply; Gone when there is none."""

    def call_together(
        self, calls: Sequence[tuple[int, str, str, Any]], *, token: str
    ) -> list[tuple[int, Any]]:
        """The same for requests (number, method, path, body) that arrive in that order, in one moment."""

    def wall_ms(self) -> int:
        """The time."""


class Hand:
    """One client. `line` can be exchanged when the server comes back."""

    def __init__(self, name: str, ledger: Ledger, line: Line, token: str, room_id: str) -> None:
        self.name = name
        self.ledger = ledger
        self.line = line
        self.token = token
        self.room_id = room_id
        self._numbers = itertools.count(1)

    def schedule(
        self, delay_ms: int | None, *, dialect: str = "merged", group: str | None = None, **more: Any
    ) -> str:
        """A new future; what it is called in the ledger."""
        mark = f"{self.name}.{next(self._numbers)}"
        group = None if group is None else f"{self.name}.{group}"
        if dialect in IN_SECONDS and delay_ms is not None:
            delay_ms = max(1, round(delay_ms / SECOND_MS)) * SECOND_MS
        self.ledger.plans[mark] = Plan(mark=mark, dialect=dialect, delay_ms=delay_ms, group=group, **more)
        self.ask(Act.SCHEDULE, mark)
        return mark

    def restart(self, mark: str) -> None:
        self.ask(Act.RESTART, mark)

    def cancel(self, mark: str) -> None:
        self.ask(Act.CANCEL, mark)

    def send(self, mark: str) -> None:
        self.ask(Act.SEND, mark)

    def replace(self, mark: str) -> None:
        """Put an ordinary state event where the future is to put its own."""
        self.ask(Act.REPLACE, mark)

    def look(self) -> list[dict[str, Any]]:
        """The events of the room that futures became, oldest first."""
        reply = self.ask(Act.LOOK, self.name)
        assert reply["chunk"][-1]["type"] == "m.room.create", "a page does not show all of the room"
        return marked_events(reply)

    def together(self, *acts: tuple[Act, str]) -> list[int]:
        """Ask for several things at once, where the line can do that; their statuses."""
        calls = []
        for act, mark in acts:
            number = self.ledger.begin(self.name, act, mark, self.line.wall_ms())
            calls.append((number, *self.request(act, mark)))
        replies = self.line.call_together(calls, token=self.token)
        for (number, *_), (status, reply) in zip(calls, replies, strict=True):
            self.ledger.end(number, status, reply, self.line.wall_ms())
        return [status for status, _ in replies]

    def ask(self, act: Act, mark: str) -> Any:
        """Make the request (again); its reply's JSON, whatever its status."""
        method, path, body = self.request(act, mark)
        number = self.ledger.begin(self.name, act, mark, self.line.wall_ms())
        status, reply = self.line.call(method, path, body, token=self.token, number=number)
        self.ledger.end(number, status, reply, self.line.wall_ms())
        assert status != 500, reply
        return reply

    def request(self, act: Act, mark: str) -> tuple[str, str, Any]:
        """Method, path and body."""
        room = f"rooms/{quote(self.room_id)}"
        if act is Act.LOOK:
            return "GET", f"{CLIENT}/v3/{room}/messages?dir=b&limit={PAGE}", None
        plan = self.ledger.plans[mark]
        if act is Act.SCHEDULE:
            return DIALECTS[plan.dialect].schedule(plan, room, self.ledger.reply_to_first(plan))
        if act is Act.REPLACE:
            path = f"{CLIENT}/v3/{room}/state/{plan.type}/{quote(plan.state_key or '')}"
            return "PUT", path, {"body": "ordinary"}
        known_by = self.ledger.reply_to_schedule(mark)
        assert known_by is not None, "nothing can be asked of a future that nobody was told of"
        return DIALECTS[plan.dialect].act(act, known_by)


def marked_events(reply: Any) -> list[dict[str, Any]]:
    """The events of a page of `/messages` (newest first) that futures became, oldest first."""
    return [event for event in reversed(reply["chunk"]) if "." in str(event["content"].get("body", ""))]
