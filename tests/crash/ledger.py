"""What clients asked for and what they were told: the ledger that a server is held to after a crash.

A hand is a client that asks for one thing at a time, about futures of its own; several hands may be at work
side by side. What must follow from a ledger is decided in `promises`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from enum import Enum
from threading import Lock
from typing import Any


class Act(Enum):
    """What can be asked for."""

    SCHEDULE = "schedule"
    RESTART = "restart"
    CANCEL = "cancel"
    SEND = "send"
    REPLACE = "replace"
    """An ordinary state event where a future is to put one."""
    LOOK = "look"
    """The room's newest events."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A future that a hand schedules. `delay_ms` None: an action future. `mark` goes into its content.

    `dialect` is a key of `shapes.DIALECTS`; futures with the same `group` are in one group, without one they
    are alone. With a `state_key` the event is a state event.
    """

    mark: str
    dialect: str = "merged"
    delay_ms: int | None
    group: str | None = None
    state_key: str | None = None

    @property
    def group_name(self) -> str:
        """The group, or a name for the group of one."""
        return self.group or self.mark

    @property
    def type(self) -> str:
        return "m.room.message" if self.state_key is None else "m.crash.state"

    @property
    def content(self) -> dict[str, Any]:
        return {"msgtype": "m.text", "body": self.mark}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. `began_ms` and `ended_ms` are wall time; `status` None: no reply came."""

    number: int
    hand: str
    act: Act
    mark: str
    began_ms: int
    ended_ms: int | None = None
    status: int | None = None
    reply: Any = None

    @property
    def succeeded(self) -> bool:
        return self.status == 200


@dataclass
class Ledger:
    """Plans by mark, and requests in the order in which they began."""

    plans: dict[str, Plan] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def begin(self, hand: str, act: Act, mark: str, now_ms: int) -> int:
        """A request is about to be made; its number."""
        with self._lock:
            number = len(self.requests) + 1
            self.requests.append(Request(number=number, hand=hand, act=act, mark=mark, began_ms=now_ms))
        return number

    def end(self, number: int, status: int, reply: Any, now_ms: int) -> None:
        """Its reply has come."""
        begun = self.requests[number - 1]
        self.requests[number - 1] = replace(begun, ended_ms=now_ms, status=status, reply=reply)

    def as_of(self, begun: Container[int], answered: Container[int]) -> Ledger:
        """What the ledger was when only those requests had reached the server, and those been answered."""
        return Ledger(
            self.plans,
            [
                request
                if request.number in answered
                else replace(request, ended_ms=None, status=None, reply=None)
                for request in self.requests
                if request.number in begun
            ],
        )

    def of(self, mark: str) -> list[Request]:
        """The requests about one future."""
        return [request for request in self.requests if request.mark == mark]

    def reply_to_first(self, plan: Plan) -> dict[str, Any] | None:
        """What the first future of a plan's group is known by; None when the plan itself is the first."""
        first = next(other for other in self.plans.values() if other.group_name == plan.group_name)
        return None if first is plan else self.reply_to_schedule(first.mark)

    def reply_to_schedule(self, mark: str) -> dict[str, Any] | None:
        """What the future is known by; None when nobody was told."""
        for request in self.of(mark):
            if request.act is Act.SCHEDULE and request.succeeded:
                reply: dict[str, Any] = request.reply
                return reply
        return None
