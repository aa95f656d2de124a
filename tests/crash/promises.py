"""What a server owes after a crash, judged from a ledger and from what the server shows when all is over.

Pure. The reference is deliberately naive: a group of futures ends with the event of one member, or of none,
and a request that was not answered may have had its effect or not. Futures specification, 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tests.crash.hands import marked_events
from tests.crash.ledger import Act, Ledger, Plan, Request
from tests.crash.shapes import ENDED_BY_ANY_STATE, IN_SECONDS, is_beside

FINALISED = (404, 409, 410)
"""How an action is answered that came too late."""


class Broken(AssertionError):
    """A promise of the server is broken."""


@dataclass
class Evidence:
    """What the server shows when nothing can change any more.

    `events` are those that futures became, in the order of the room, and those that were sent at once with
    them; `lookups` what `merged` tells of a future; `tokens` how what a token can do is answered.
    """

    events: Sequence[dict[str, Any]]
    lookups: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)


def check(ledger: Ledger, evidence: Evidence) -> None:
    """Raises Broken when `evidence` is not what the clients of `ledger` may expect."""
    beside = _once([event for event in evidence.events if is_beside(event)])
    events = _once([event for event in evidence.events if not is_beside(event)])
    for mark in sorted({*events, *beside}):
        _owed(mark in ledger.plans, f"{mark} was sent, and nobody had asked for it")
    for mark, plan in ledger.plans.items():
        if plan.dialect in IN_SECONDS and (mark in events or ledger.reply_to_schedule(mark) is not None):
            _owed(mark in beside, f"{mark} was scheduled without the event that belongs to it")
    _check_what_was_seen(ledger, evidence)
    for group, plans in groups_of(ledger).items():
        sent = [plan.mark for plan in plans if plan.mark in events]
        _owed(len(sent) <= 1, f"more than one of group {group} was sent: {sent}")
        fate = sent[0] if sent else None
        fates = possible_fates(plans, requests_about(ledger, plans))
        _owed(fate in fates, f"{group} ended with {fate}; it should have been one of {fates}")
    for mark, event in events.items():
        _check_not_early(ledger.plans[mark], ledger.of(mark), event)
    for mark, lookup in evidence.lookups.items():
        _check_outcome(mark, lookup, events.get(mark))
    for mark, answers in evidence.tokens.items():
        _owed(set(answers.values()) == {410}, f"tokens of {mark} are not spent: {answers}")


def _once(events: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Events by mark; each must be there once."""
    by_mark: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_mark.setdefault(mark_of(event), []).append(event)
    for mark, found in by_mark.items():
        _owed(len(found) == 1, f"{mark} was sent {len(found)} times")
    return {mark: found[0] for mark, found in by_mark.items()}


def mark_of(event: dict[str, Any]) -> str:
    """What a future is called in the ledger, from its event."""
    return str(event["content"]["body"])


def groups_of(ledger: Ledger) -> dict[str, list[Plan]]:
    """The plans of each group, in the order in which they were made."""
    groups: dict[str, list[Plan]] = {}
    for plan in ledger.plans.values():
        groups.setdefault(plan.group_name, []).append(plan)
    return groups


def requests_about(ledger: Ledger, plans: Iterable[Plan]) -> list[Request]:
    """The requests about a group, and the looks at the room of those who made them: these come one by one."""
    marks = {plan.mark for plan in plans}
    hands = {request.hand for request in ledger.requests if request.mark in marks}
    return [
        request
        for request in ledger.requests
        if request.mark in marks or (request.act is Act.LOOK and request.hand in hands)
    ]


def possible_fates(plans: Sequence[Plan], requests: Sequence[Request]) -> set[str | None]:
    """Whose event the group may have ended with (None: with none), as far as its clients know."""
    open_ones = [request for request in requests if request.status is None and request.act is not Act.LOOK]
    fates: set[str | None] = set()
    for count in range(len(open_ones) + 1):
        for lost in combinations(open_ones, count):
            world = _World({plan.mark: plan for plan in plans})
            try:
                for request in requests:
                    if request not in lost:
                        world.take(request)
            except _Impossible:
                continue
            fates |= world.fates()
    return fates


class _Impossible(Exception):
    """What was answered cannot have been answered if the open requests had the effects that are assumed."""


class _World:
    """What a group would be if certain of the open requests had had their effect."""

    def __init__(self, plans: dict[str, Plan]) -> None:
        self._plans = plans
        self._scheduled: set[str] = set()
        self._due_ms: dict[str, int | None] = {}
        self._ended = False
        self._fate: str | None = None

    def take(self, request: Request) -> None:
        """A request that had its effect, or was answered with a refusal."""
        if request.act is Act.LOOK:
            if request.succeeded:
                shown = marked_events(request.reply)
                self._look([mark_of(event) for event in shown if not is_beside(event)])
        elif request.status in FINALISED:
            if request.mark in self._due_ms and not self._ended and not self._may_be_over(request):
                raise _Impossible
        elif request.act is Act.REPLACE:
            self._replace(request)
        elif request.status is None or request.succeeded:
            self._act(request)

    def fates(self) -> set[str | None]:
        """How it may end if time does the rest."""
        if self._ended:
            return {self._fate}
        timeouts: set[str | None] = {mark for mark, due_ms in self._due_ms.items() if due_ms is not None}
        return timeouts or {None}

    def _act(self, request: Request) -> None:
        mark = request.mark
        if request.act is Act.SCHEDULE:
            if mark not in self._scheduled:  # a repeat changes nothing
                self._scheduled.add(mark)
                self._start(request)
        elif mark not in self._due_ms:
            agrees = {Act.SEND: self._fate == mark, Act.CANCEL: self._fate != mark}
            if request.succeeded and not agrees.get(request.act, False):
                raise _Impossible
        elif request.act is Act.RESTART:
            self._start(request)
        elif request.act is Act.SEND:
            self._end(mark)
        else:
            self._drop(mark)

    def _start(self, request: Request) -> None:
        delay_ms = self._plans[request.mark].delay_ms
        if not self._ended:
            self._due_ms[request.mark] = None if delay_ms is None else request.began_ms + delay_ms

    def _drop(self, mark: str) -> None:
        self._due_ms.pop(mark, None)
        if all(due_ms is None for due_ms in self._due_ms.values()):
            self._end(None)

    def _end(self, fate: str | None) -> None:
        if self._ended and fate != self._fate:
            raise _Impossible
        self._ended, self._fate = True, fate
        self._due_ms.clear()

    def _look(self, seen: Sequence[str]) -> None:
        """Somebody was shown the room."""
        if self._ended and self._fate is not None and self._fate not in seen:
            raise _Impossible
        for mark in seen:
            if mark in self._plans:
                self._end(mark)

    def _replace(self, request: Request) -> None:
        """Ends futures of its own kind where the dialect says so (`tokens` and its kin: always)."""
        target = self._plans[request.mark]
        for mark in list(self._due_ms):
            plan = self._plans[mark]
            if plan.dialect in ENDED_BY_ANY_STATE and plan.state_key == target.state_key:
                if request.ended_ms is not None and self._may_be_over(request):
                    raise NotImplementedError("stories replace state long before such a future is due")
                self._drop(mark)

    def _may_be_over(self, request: Request) -> bool:
        """Whether the group's time may have come before the request was answered."""
        moments = [due_ms for due_ms in self._due_ms.values() if due_ms is not None]
        return bool(moments) and (request.ended_ms is None or request.ended_ms >= min(moments))


def _check_what_was_seen(ledger: Ledger, evidence: Evidence) -> None:
    """What somebody was shown stays, in the order in which it was shown."""
    present = [event["event_id"] for event in evidence.events]
    for request in ledger.requests:
        if request.act is Act.LOOK and request.succeeded:
            seen = [event["event_id"] for event in marked_events(request.reply)]
            kept = [event_id for event_id in present if event_id in seen]
            _owed(kept == seen, f"request {request.number} was shown {seen}; {kept} is left")


def _check_not_early(plan: Plan, requests: Sequence[Request], event: dict[str, Any]) -> None:
    """Nothing is sent before the last acknowledged start and the delay."""
    if plan.delay_ms is None or any(r.act is Act.SEND and r.status in (None, 200) for r in requests):
        return
    restarts = [r for r in requests if r.act is Act.RESTART and r.succeeded]
    for start in (requests[0], *restarts):
        early_ms = start.began_ms + plan.delay_ms - int(event["origin_server_ts"])
        _owed(early_ms <= 0, f"{plan.mark} was sent {early_ms} ms early")


def _check_outcome(mark: str, lookup: dict[str, Any], event: dict[str, Any] | None) -> None:
    """The outcome that is kept is what happened in the room."""
    _owed("finalised" in lookup, f"{mark} has no outcome although its time has come: {lookup}")
    finalised = lookup["finalised"]
    if event is None:
        _owed("event_id" not in finalised, f"{mark} is said to be sent, and the room does not have it")
        _owed("error" not in finalised, f"{mark} has failed: {finalised}")
    else:
        _owed(finalised.get("event_id") == event["event_id"], f"{mark}: {finalised} is not {event}")
        _owed(event["unsigned"].get("delay_id") == lookup["delay_id"], f"{mark}: {event} hides its delay ID")


def _owed(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
