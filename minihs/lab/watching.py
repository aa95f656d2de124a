"""Watches servers decide: each question that is put to the auth rules, its answer, and the state behind it.

A watched server has a judge that writes down; the others have the rules themselves and lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from minihs.events.event import Event, StateKey
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.lab.transcript import Transcript, clock_time
from minihs.rooms.auth import Allowed, Refused, authorise
from minihs.rooms.judge import Judge
from minihs.rooms.receipt import Accept, CitedEvents, Reject, SoftFail, check_citations
from minihs.rooms.state_map import StateChange
from minihs.store.writer import Batch


class Decision(msgspec.Struct, frozen=True):
    """One question to the auth rules on one server. `state` is what was read to answer it."""

    at_ms: float
    server: str
    room_id: str
    event_id: str
    type: str
    state_key: str | None
    sender: str
    question: str
    """`own` (making it), `cited` (check 4), `before` (check 5), `current` (check 6), `outlier` (check 4 of
    one without the state around it, such as the state of a room that is joined)."""
    allowed: bool
    rule: str
    reason: str
    state: dict[str, str]
    """`type|state_key` to event ID."""

    @property
    def told(self) -> str:
        """The event in a few words."""
        return f"{self.type.removeprefix('m.room.')} {short(self.event_id)} by {self.sender}"

    @property
    def answer(self) -> str:
        """With the number of the rule."""
        return f"{'allowed' if self.allowed else f'refused: {self.reason}'} ({self.rule})"

    @property
    def basis(self) -> str:
        """The state that was read."""
        return ", ".join(
            f"{key.removeprefix('m.room.').rstrip('|').replace('|', ' ')} {short(event_id)}"
            for key, event_id in self.state.items()
        )


class AuthTrace:
    """The decisions of all servers, in order."""

    def __init__(
        self, now_ms: Callable[[], float], transcript: Transcript, *, most: int | None = None
    ) -> None:
        """`most` decisions are kept, the first."""
        self._now_ms = now_ms
        self._most = most
        self._transcript = transcript
        self.decisions: list[Decision] = []
        self.keep_allowed = True

    def about(self, event_id: str) -> list[Decision]:
        """The decisions about one event, in order."""
        return [decision for decision in self.decisions if decision.event_id == event_id]

    def refusals(self) -> list[Decision]:
        """The decisions that went against an event."""
        return [decision for decision in self.decisions if not decision.allowed]

    def record(
        self,
        server: str,
        event: Event,
        question: str,
        verdict: Allowed | Refused,
        state: Mapping[StateKey, Event],
    ) -> None:
        """Write down one answer."""
        allowed = isinstance(verdict, Allowed)
        if (allowed and not self.keep_allowed) or len(self.decisions) == self._most:
            return
        decision = Decision(
            self._now_ms(),
            server,
            event.room_id,
            event.event_id,
            event.type,
            event.state_key,
            event.sender,
            question,
            allowed,
            verdict.rule,
            "" if isinstance(verdict, Allowed) else verdict.reason,
            {f"{key[0]}|{key[1]}": state[key].event_id for key in sorted(state)},
        )
        self.decisions.append(decision)
        if not allowed:
            self._transcript.add(
                "refused",
                server,
                f"{_QUESTIONS[question]} {describe(event)}: {decision.rule}, {decision.reason}",
                event_id=event.event_id,
                room_id=event.room_id,
                question=question,
                rule=decision.rule,
                reason=decision.reason,
            )


_QUESTIONS = {
    "own": "may not send",
    "cited": "rejects by its auth events (check 4)",
    "before": "rejects by the state before it (check 5)",
    "outlier": "rejects by its auth events, without the state around it,",
    "current": "soft-fails by the current state (check 6)",
}


class WatchedJudge(Judge):
    """Asks another judge and writes down what it was asked and what it said."""

    def __init__(self, judge: Judge, server: str, trace: AuthTrace) -> None:
        self._judge = judge
        self._server = server
        self._trace = trace

    def own(self, event: Event, state: Mapping[StateKey, Event], *, was_future: bool) -> Allowed | Refused:
        verdict = self._judge.own(event, state, was_future=was_future)
        self._trace.record(self._server, event, "own", verdict, state)
        return verdict

    def received(
        self,
        event: Event,
        cited: CitedEvents,
        state_before: Mapping[StateKey, Event],
        current_state: Mapping[StateKey, Event] | None,
    ) -> Reject | SoftFail | Accept:
        verdict = self._judge.received(event, cited, state_before, current_state)
        by_citations = check_citations(event, cited)
        basis = {each.key: each for each in cited.of(event)}
        if isinstance(by_citations, Reject):
            refused = Refused(by_citations.rule, by_citations.reason)
            self._trace.record(self._server, event, "cited", refused, basis)
            return verdict
        self._trace.record(self._server, event, "cited", Allowed("check 4"), basis)
        before = authorise(event, state_before, event.version)
        self._trace.record(self._server, event, "before", before, state_before)
        if current_state is not None and isinstance(before, Allowed):
            now = authorise(event, current_state, event.version)
            self._trace.record(self._server, event, "current", now, current_state)
        return verdict

    def outlier(self, event: Event, cited: CitedEvents) -> Reject | Accept:
        verdict = self._judge.outlier(event, cited)
        basis = {each.key: each for each in cited.of(event)}
        answer = Refused(verdict.rule, verdict.reason) if isinstance(verdict, Reject) else Allowed("check 4")
        self._trace.record(self._server, event, "outlier", answer, basis)
        return verdict


class Witness:
    """Observes the rooms of one server: when each event became known there, and what state it changed."""

    def __init__(self, server: str, transcript: Transcript) -> None:
        self._server = server
        self._transcript = transcript

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """Not durable yet."""

    def event_committed(self, committed: CommittedEvent) -> None:
        event = committed.event
        origin = "sends" if committed.local else "hears of"
        details: dict[str, Any] = {"event_id": event.event_id, "room_id": event.room_id, "type": event.type}
        self._transcript.add("event", self._server, f"{origin} {describe(event)}", **details)

    def event_failed(self, event: Event) -> None:
        self._transcript.add(
            "event", self._server, f"could not store {describe(event)}", room_id=event.room_id
        )


def decision_line(decision: Decision) -> str:
    """One answer of the auth rules as text: time, server, question, event, answer, what was read."""
    where = f"{clock_time(decision.at_ms)}  {decision.server:<8} {decision.question:<8}"
    return f"{where} {decision.told}: {decision.answer} by {decision.basis or 'nothing'}"


def describe(event: Event) -> str:
    """An event in a few words: what, by whom, its ID."""
    what = event.type.removeprefix("m.room.")
    if event.type == "m.room.member":
        what = f"{event.membership} of {event.state_key}"
    elif event.state_key:
        what = f"{what} {event.state_key!r}"
    elif event.type == "m.room.message" and isinstance(event.content.get("body"), str):
        what = f"message {event.content['body']!r}"
    return f"{what} by {event.sender} ({short(event.event_id)})"


def short(event_id: str) -> str:
    """The first characters of an event ID, which are enough to tell a handful apart."""
    return event_id[:7] + "…"
