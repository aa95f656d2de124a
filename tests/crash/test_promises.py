"""The judge itself: each broken promise is noticed, and its kept twin is not objected to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.ledger import Act, Ledger, Plan
from tests.crash.promises import Broken, Evidence, check

DELAY_MS = 1_000


class Told:
    """A ledger with one future that was scheduled at 0 ms, and what followed."""

    def __init__(self, *, answered: bool = True, **plan: Any) -> None:
        self.ledger = Ledger()
        self.add(Act.SCHEDULE, 0, 200 if answered else None, **plan)

    def add(
        self,
        act: Act,
        at_ms: int,
        status: int | None = 200,
        mark: str = "a.1",
        reply: Any = None,
        **plan: Any,
    ) -> Told:
        if act is Act.SCHEDULE:
            self.ledger.plans[mark] = Plan(mark=mark, **{"delay_ms": DELAY_MS, **plan})
            reply = {"delay_id": f"id of {mark}"}
        number = self.ledger.begin("a", act, mark, at_ms)
        if status is not None:
            self.ledger.end(number, status, reply, at_ms)
        return self


def event(at_ms: int = DELAY_MS, mark: str = "a.1", event_id: str = "$1") -> dict[str, Any]:
    """The event that a future became."""
    unsigned = {"delay_id": f"id of {mark}"}
    return {
        "event_id": event_id,
        "origin_server_ts": at_ms,
        "content": {"body": mark},
        "unsigned": unsigned,
    }


def lookup(mark: str = "a.1", **finalised: Any) -> dict[str, dict[str, Any]]:
    return {mark: {"delay_id": f"id of {mark}", "finalised": finalised}}


def is_broken(told: Told, evidence: Evidence, why: str) -> None:
    with pytest.raises(Broken, match=why):
        check(told.ledger, evidence)


def test_a_future_is_sent_once() -> None:
    check(Told().ledger, Evidence([event()], lookup(event_id="$1")))
    is_broken(Told(), Evidence([event(), event(event_id="$2")]), "2 times")
    is_broken(Told(), Evidence([]), "ended with None")


def test_what_nobody_was_told_of_may_be_lost_or_not() -> None:
    told = Told(answered=False)
    check(told.ledger, Evidence([event()]))
    check(told.ledger, Evidence([]))


def test_what_nobody_asked_for_is_not_sent() -> None:
    is_broken(Told(), Evidence([event(), event(mark="a.2")]), "nobody had asked")


def test_a_cancelled_future_is_not_sent() -> None:
    told = Told().add(Act.CANCEL, 10)
    check(told.ledger, Evidence([], lookup()))
    is_broken(told, Evidence([event()]), "ended with a.1")


def test_a_cancellation_without_a_reply_may_have_happened() -> None:
    told = Told().add(Act.CANCEL, 10, None)
    check(told.ledger, Evidence([]))
    check(told.ledger, Evidence([event()]))


def test_a_cancellation_that_came_too_late_means_that_it_was_sent() -> None:
    told = Told().add(Act.CANCEL, DELAY_MS, 409)
    check(told.ledger, Evidence([event()]))
    is_broken(told, Evidence([]), "ended with None")
    is_broken(Told().add(Act.CANCEL, 10, 409), Evidence([event()]), "one of set()")


def test_a_future_is_not_sent_before_its_last_restart_and_the_delay() -> None:
    told = Told().add(Act.RESTART, 500)
    check(told.ledger, Evidence([event(500 + DELAY_MS)]))
    is_broken(told, Evidence([event(500 + DELAY_MS - 1)]), "1 ms early")


def test_a_restart_without_a_reply_binds_nobody() -> None:
    told = Told().add(Act.RESTART, 500, None)
    check(told.ledger, Evidence([event(DELAY_MS)]))
    is_broken(told, Evidence([event(DELAY_MS - 1)]), "early")


def test_a_future_that_was_told_to_go_need_not_wait() -> None:
    check(Told().add(Act.SEND, 10).ledger, Evidence([event(10)]))
    is_broken(Told().add(Act.SEND, 10, 403), Evidence([event(10)]), "early")
    is_broken(Told().add(Act.SEND, 10), Evidence([]), "ended with None")


def test_what_is_sent_at_once_comes_with_its_future() -> None:
    told = Told(dialect="batch")
    now = event(0, event_id="$0")
    now["content"]["beside"] = True
    check(told.ledger, Evidence([now, event()]))
    is_broken(told, Evidence([event()]), "without the event")
    is_broken(told, Evidence([now, now, event()]), "2 times")


def test_of_a_group_one_is_sent() -> None:
    told = Told(group="g").add(Act.SCHEDULE, 0, mark="a.2", group="g", delay_ms=None)
    check(told.ledger, Evidence([event()]))
    is_broken(told, Evidence([event(), event(mark="a.2", event_id="$2")]), "more than one")
    is_broken(told, Evidence([event(mark="a.2")]), "ended with a.2")
    check(told.add(Act.SEND, 10, mark="a.2").ledger, Evidence([event(mark="a.2")]))
    is_broken(told, Evidence([event()]), "ended with a.1")


def test_a_group_that_lost_its_last_timeout_sends_nothing() -> None:
    told = Told(group="g").add(Act.SCHEDULE, 0, mark="a.2", group="g", delay_ms=None).add(Act.CANCEL, 10)
    check(told.ledger, Evidence([]))
    is_broken(told, Evidence([event(mark="a.2")]), "ended with a.2")


def test_a_repeated_request_schedules_nothing_anew() -> None:
    told = Told().add(Act.CANCEL, 10).add(Act.SCHEDULE, 20)
    check(told.ledger, Evidence([]))
    is_broken(told, Evidence([event()]), "ended with a.1")


def test_what_was_shown_stays() -> None:
    seen = {"chunk": [event(event_id="$1")]}
    told = Told().add(Act.LOOK, DELAY_MS, mark="a", reply=seen)
    check(told.ledger, Evidence([event()]))
    is_broken(told, Evidence([event(event_id="$2")]), "was shown")


def test_the_outcome_is_the_event_of_the_room() -> None:
    is_broken(Told(), Evidence([event()], lookup(event_id="$2")), "is not")
    is_broken(Told(), Evidence([event()], {"a.1": {"delay_id": "id of a.1"}}), "has no outcome")
    cancelled = Told().add(Act.CANCEL, 10)
    is_broken(cancelled, Evidence([], lookup(event_id="$1")), "the room does not have it")
    is_broken(cancelled, Evidence([], lookup(error={})), "failed")


def test_tokens_of_finished_futures_are_spent() -> None:
    check(Told().ledger, Evidence([event()], tokens={"a.1": {"send_token": 410}}))
    is_broken(Told(), Evidence([event()], tokens={"a.1": {"send_token": 200}}), "not spent")


def test_ordinary_state_ends_a_future_of_tokens_only() -> None:
    for dialect, fate in (("tokens", []), ("merged", [event()])):
        told = Told(dialect=dialect, state_key="here").add(Act.REPLACE, 10)
        check(told.ledger, Evidence(fate))
    is_broken(Told(dialect="tokens", state_key="here").add(Act.REPLACE, 10), Evidence([event()]), "ended")
