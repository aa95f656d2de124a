"""Random commands: each answer of the engine is that of a naive reference; a process may die at any time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from minihs.events.ids import EventID, RoomID, UserID
from minihs.futures.commands import (
    Cancel,
    CancelAll,
    Command,
    Restart,
    Schedule,
    Send,
    SendFailed,
    SendPostponed,
    SendSucceeded,
    StateChanged,
    Wake,
)
from minihs.futures.effects import (
    AlreadySo,
    CallerError,
    Effect,
    Finalised,
    Refused,
    SendEvent,
    Stored,
    TimerStarted,
)
from minihs.futures.engine import next_due, step
from minihs.futures.model import (
    CancelRule,
    Cause,
    Future,
    FutureGroup,
    FutureID,
    GroupID,
    MatrixError,
    Millis,
    Now,
    Sent,
)
from minihs.futures.policies import always, as_its_dialect_says, by_cancel_rule, never_cancel
from tests.futures.reference import NOTHING, Answer, Reference
from tests.support.examples import examples
from tests.support.futures import ALICE, BOB, ROOM, future

NUMBERS = st.integers(min_value=1, max_value=8).map(FutureID)
TYPES = st.sampled_from(["m.one", "m.two"])
KEYS = st.sampled_from(["a", "b"])
ROOMS = st.sampled_from([ROOM, RoomID("!other:hs1")])
SENDERS = st.sampled_from([ALICE, BOB])
CAUSES = st.sampled_from([Cause.ACTION, Cause.ACCOUNT, Cause.ADMINISTRATOR])
RULINGS = st.sampled_from([as_its_dialect_says, *map(always, CancelRule)])
TROUBLE = MatrixError(403, "M_FORBIDDEN", "No.")
WALL_MS = 10**12
"""So far is the wall clock ahead of the steady one: the two are not mistaken for each other."""


@st.composite
def orders(draw: st.DrawFn) -> Future:
    """What a dialect may ask for."""
    return future(
        draw(NUMBERS),
        timeout_ms=draw(st.none() | st.integers(min_value=1, max_value=60)),
        type=draw(TYPES),
        state_key=draw(st.none() | KEYS),
        room_id=draw(ROOMS),
        cancel_rule=draw(st.sampled_from(CancelRule)),
        bound_to=draw(st.none() | st.tuples(TYPES, KEYS)),
        owner=draw(st.sampled_from([ALICE, ALICE, ALICE, BOB])),
    )


class GroupMachine(RuleBasedStateMachine):
    """`durable` is what effects alone have stored: from there it goes on when the process dies."""

    @initialize(states_end=st.booleans(), ruling=RULINGS)
    def begin(self, states_end: bool, ruling: object) -> None:
        self.group = FutureGroup(GroupID(1), ALICE)
        self.reference = Reference(ALICE, states_end)
        self.cancels = by_cancel_rule if states_end else never_cancel
        self.ruling = ruling
        self.now = 0
        self.used: set[FutureID] = set()
        self.durable: dict[FutureID, Future] = {}
        self.sent = 0

    def do(self, command: Command, expected: Answer) -> None:
        """Take the step and compare."""
        before = self.group
        now = Now(Millis(self.now), WALL_MS + self.now)
        self.group, effects = step(before, command, now, cancels=self.cancels)
        assert answer_of(effects) == expected
        if isinstance(command, SendPostponed) and expected == NOTHING:
            assert self.group == replace(before, sending=None)
        elif not effects or isinstance(effects[0], Refused | AlreadySo):
            assert self.group == before, "an answer without an effect changed something"
        for effect in effects:
            match effect:
                case Stored(changed) | TimerStarted(changed) | Finalised(changed):
                    self.durable[changed.id] = changed
            if isinstance(effect, Finalised):
                self.sent += isinstance(effect.future.outcome, Sent)

    @property
    def wall(self) -> int:
        return WALL_MS + self.now

    @rule(ms=st.integers(min_value=0, max_value=50))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @rule(new=st.lists(orders(), min_size=1, max_size=3, unique_by=lambda order: order.id))
    def schedule(self, new: list[Future]) -> None:
        futures = tuple(self.ruling(one) for one in sorted(new, key=lambda one: one.id))  # type: ignore[operator]
        if self.used.isdisjoint(one.id for one in futures):
            expected = self.reference.schedule(futures, self.now)
            if expected[0] == "stored":
                self.used.update(one.id for one in futures)
            self.do(Schedule(futures), expected)

    @rule(number=NUMBERS)
    def restart(self, number: FutureID) -> None:
        self.do(Restart(number), self.reference.restart(number, self.now))

    @rule(number=NUMBERS)
    def send(self, number: FutureID) -> None:
        self.do(Send(number), self.reference.send(number))

    @rule(number=NUMBERS, cause=CAUSES)
    def cancel(self, number: FutureID, cause: Cause) -> None:
        self.do(Cancel(number, cause), self.reference.cancel(number, cause, self.wall))

    @rule(cause=CAUSES)
    def the_account_is_deactivated(self, cause: Cause) -> None:
        self.do(CancelAll(cause), self.reference.cancel_all(cause, self.wall))

    @rule()
    def wake(self) -> None:
        self.do(Wake(), self.reference.wake(self.now))

    @rule(room=ROOMS, type_=TYPES, key=KEYS, sender=SENDERS)
    def state_changes(self, room: RoomID, type_: str, key: str, sender: UserID) -> None:
        change = StateChanged(room, type_, key, sender)
        self.do(change, self.reference.state_changed(change, self.wall))

    @rule(number=NUMBERS, of_the_one=st.booleans())
    def a_send_succeeds(self, number: FutureID, of_the_one: bool) -> None:
        number, cause = self.one_sent(number, of_the_one)
        event_id = EventID(f"${number}")
        expected = self.reference.sent(number, Sent(event_id, cause, self.wall), self.wall)
        self.do(SendSucceeded(number, event_id), expected)

    @rule(number=NUMBERS, of_the_one=st.booleans())
    def a_send_fails(self, number: FutureID, of_the_one: bool) -> None:
        number, _ = self.one_sent(number, of_the_one)
        self.do(SendFailed(number, TROUBLE), self.reference.not_sent(number, TROUBLE, self.wall))

    @rule(number=NUMBERS, of_the_one=st.booleans())
    def a_send_is_postponed(self, number: FutureID, of_the_one: bool) -> None:
        number, _ = self.one_sent(number, of_the_one)
        self.do(SendPostponed(number), self.reference.postponed(number))

    def one_sent(self, number: FutureID, of_the_one: bool) -> tuple[FutureID, Cause]:
        """The member whose event is being made, if one is and is asked for; else any number."""
        if of_the_one and self.reference.sending is not None:
            sending, cause = self.reference.sending
            return FutureID(sending), cause
        cause = Cause.ACTION if self.reference.sending is None else self.reference.sending[1]
        return number, cause

    @rule()
    def the_process_dies(self) -> None:
        """What was being sent was not sent: its event would have been stored with its outcome."""
        waiting = tuple(future for _, future in sorted(self.durable.items()) if future.outcome is None)
        # Of a group that is finished, the store finds nothing to go on with.
        members = waiting or tuple(future for _, future in sorted(self.durable.items()))
        self.group = FutureGroup(GroupID(1), ALICE, None, members)
        self.reference.dies()

    @invariant()
    def memory_what_is_stored_and_the_reference_agree(self) -> None:
        if not hasattr(self, "group"):
            return
        waiting = {future.id: future for future in self.durable.values() if future.outcome is None}
        assert {future.id: future for future in self.group.scheduled} == waiting
        reference = self.reference
        assert {number: future.started_ms for number, future in waiting.items()} == {
            number: one.since for number, one in reference.waiting.items()
        }
        assert all(future.since_ts == WALL_MS + future.started_ms for future in waiting.values())
        sending = None if reference.sending is None else reference.sending[0]
        assert self.group.sending == sending
        dues = [(one.due, number) for number, one in reference.waiting.items() if one.due is not None]
        following = next_due(self.group)
        assert (None if following is None else following.id) == (min(dues)[1] if dues else None)

    @invariant()
    def at_most_one_is_sent_and_a_group_that_waits_is_sure_to_end(self) -> None:
        if hasattr(self, "group"):
            assert self.sent <= 1
            assert not self.group.scheduled or any(one.timeout_ms for one in self.group.scheduled)


def answer_of(effects: tuple[Effect, ...]) -> Answer:
    """What the engine says, in the words of the reference."""
    match effects:
        case ():
            return NOTHING
        case (Refused(reason, None),):
            return "refused", reason
        case (Refused(_, outcome),):
            return "contradicted", outcome
        case (AlreadySo(outcome),):
            return "already", outcome
        case (CallerError(error),):
            return "told", error
        case (SendEvent(sending, cause),):
            return "make", sending.id, cause
        case (TimerStarted(restarted),):
            return "restarted", restarted.id
        case (Stored(), *_):
            return "stored", [effect.future.id for effect in effects if isinstance(effect, Stored)]
    ended = [effect.future for effect in effects if isinstance(effect, Finalised)]
    assert len(ended) == len(effects) == len({future.id for future in ended})
    return "ended", {future.id: future.outcome for future in ended}


GroupMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestGroupMachine = GroupMachine.TestCase


@pytest.mark.full
class TestManyGroups(GroupMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=examples(1_000), stateful_step_count=60, deadline=None)
