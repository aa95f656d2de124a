"""Where a server asks the auth rules about an event: one object for its own events and for those of others.

An experiment may hand in another judge, which writes down each question with its answer, or answers as some
other rule would. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from minihs.events.event import Event, StateKey
from minihs.rooms.auth import Allowed, Refused, authorise
from minihs.rooms.receipt import Accept, CitedEvents, Reject, SoftFail, check_citations, check_rights


class Judge:
    """The rules as the specification has them."""

    def own(
        self,
        event: Event,
        state: Mapping[StateKey, Event],
        *,
        was_future: bool,  # noqa: ARG002 - the rules do not know futures
    ) -> Allowed | Refused:
        """May this event of our own be made on this state? `was_future` says that it was scheduled before."""
        return authorise(event, state, event.version)

    def received(
        self,
        event: Event,
        cited: CitedEvents,
        state_before: Mapping[StateKey, Event],
        current_state: Mapping[StateKey, Event] | None,
    ) -> Reject | SoftFail | Accept:
        """What becomes of an event that another server sent; see `receipt.check_rights`."""
        return check_rights(event, cited, state_before, current_state)

    def outlier(self, event: Event, cited: CitedEvents) -> Reject | Accept:
        """What becomes of an event that came without the state around it: only its auth events are asked."""
        return check_citations(event, cited)


THE_RULES = Judge()


class JudgedWhenScheduled(Judge):
    """Asks another judge about everything but futures: what they may do was settled when they were scheduled.

    Only our own server may think so. Others ask the rules, and refuse what a sender has lost the right to.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def own(self, event: Event, state: Mapping[StateKey, Event], *, was_future: bool) -> Allowed | Refused:
        return NOT_ASKED if was_future else self._judge.own(event, state, was_future=False)

    def received(
        self,
        event: Event,
        cited: CitedEvents,
        state_before: Mapping[StateKey, Event],
        current_state: Mapping[StateKey, Event] | None,
    ) -> Reject | SoftFail | Accept:
        return self._judge.received(event, cited, state_before, current_state)

    def outlier(self, event: Event, cited: CitedEvents) -> Reject | Accept:
        return self._judge.outlier(event, cited)


NOT_ASKED = Allowed("none")
"""The verdict on a future whose rights were judged when it was scheduled."""
