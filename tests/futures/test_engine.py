"""What each command does to a group of futures, by example."""

from __future__ import annotations

from typing import Any

import pytest

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
    Finalised,
    Refusal,
    Refused,
    SendEvent,
    Stored,
    TimerStarted,
)
from minihs.futures.engine import next_due, step
from minihs.futures.model import (
    CANCELLED_BY_STATE_UPDATE,
    Cancelled,
    CancelRule,
    Cause,
    Failed,
    Future,
    FutureGroup,
    FutureID,
    GroupID,
    MatrixError,
    Now,
    Outcome,
    Sent,
)
from minihs.futures.policies import never_cancel
from tests.support.futures import ALICE, BOB, ROOM, START, at, call_leave, future, group_of

ONE, TWO = FutureID(1), FutureID(2)
EVENT = EventID("$event")
FORBIDDEN = MatrixError(403, "M_FORBIDDEN", "You lack the power.")


def outcomes(group: FutureGroup) -> list[Outcome | None]:
    return [member.outcome for member in group.members]


def after(group: FutureGroup, *commands: Command, now: Now = START) -> FutureGroup:
    for command in commands:
        group, _ = step(group, command, now)
    return group


def refusal(group: FutureGroup, command: Command, now: Now = START) -> Refused:
    again, effects = step(group, command, now)
    assert again == group
    [effect] = effects
    assert isinstance(effect, Refused)
    return effect


class TestScheduling:
    def test_a_future_is_stored_with_its_timer_started(self) -> None:
        empty = FutureGroup(GroupID(1), ALICE)
        group, effects = step(empty, Schedule((future(),)), at(5))
        [effect] = effects
        assert isinstance(effect, Stored)
        assert effect.future.due_ms == at(10_005).steady
        assert effect.future.since_ts == at(5).wall
        assert group.members == (effect.future,)

    def test_an_action_future_needs_a_timeout_future_in_its_group(self) -> None:
        action = future(2, timeout_ms=None)
        assert refusal(FutureGroup(GroupID(2), ALICE), Schedule((action,))).reason is (
            Refusal.NO_TIMEOUT_IN_GROUP
        )
        _, effects = step(group_of(future(1)), Schedule((action,)), START)
        assert [type(effect) for effect in effects] == [Stored]

    def test_an_action_and_a_timeout_future_may_come_together(self) -> None:
        assert len(group_of(future(1, timeout_ms=None), future(2)).members) == 2

    def test_a_timeout_future_that_is_finalised_does_not_support_an_action_future(self) -> None:
        group = after(group_of(future(1), future(2, timeout_ms=None)), Send(TWO))
        failed = after(group, SendFailed(TWO, FORBIDDEN), Cancel(ONE))
        assert refusal(failed, Schedule((future(3, timeout_ms=None),))).reason is Refusal.GROUP_FINISHED

    def test_a_finished_group_takes_no_more_futures(self) -> None:
        group = group_of(future(1))
        assert step(group, Schedule((future(2),)), START)[0].members[1].outcome is None
        assert refusal(after(group, Cancel(ONE)), Schedule((future(2),))).reason is Refusal.GROUP_FINISHED

    def test_nobody_schedules_into_another_users_group(self) -> None:
        theirs = future(2, owner=BOB)
        assert refusal(group_of(future(1)), Schedule((theirs,))).reason is Refusal.NOT_THE_OWNER

    def test_members_may_belong_to_several_rooms(self) -> None:
        group = group_of(future(1), future(2, room_id=RoomID("!other:hs1")))
        assert [member.room_id for member in group.scheduled] == [ROOM, "!other:hs1"]


class TestTime:
    def test_nothing_is_sent_one_millisecond_early(self) -> None:
        assert step(group_of(future()), Wake(), at(9_999))[1] == ()

    def test_a_future_is_sent_when_its_delay_has_passed(self) -> None:
        group, effects = step(group_of(future()), Wake(), at(10_000))
        assert effects == (SendEvent(group.members[0], Cause.DELAY),)
        assert group.sending == ONE

    def test_a_restart_starts_the_stored_delay_again(self) -> None:
        group, effects = step(group_of(future()), Restart(ONE), at(9_000))
        assert effects == (TimerStarted(group.members[0]),)
        assert step(group, Wake(), at(18_999))[1] == ()
        assert step(group, Wake(), at(19_000))[1] != ()
        assert group.members[0].since_ts == at(9_000).wall

    def test_of_two_that_are_due_the_earlier_one_is_sent(self) -> None:
        group = group_of(future(1, timeout_ms=200), future(2, timeout_ms=100))
        _, effects = step(group, Wake(), at(500))
        assert effects[0] == SendEvent(group.members[1], Cause.DELAY)

    def test_of_two_that_are_due_together_the_one_scheduled_first_is_sent(self) -> None:
        group = group_of(future(1), future(2))
        first = next_due(group)
        assert first is not None
        assert first.id == ONE

    def test_an_action_future_has_no_timer(self) -> None:
        group = group_of(future(1), future(2, timeout_ms=None))
        assert refusal(group, Restart(TWO)).reason is Refusal.NO_TIMER
        assert group.members[1].due_ms is None


class TestSending:
    def test_a_sent_future_keeps_the_event_id_and_what_set_it_off(self) -> None:
        group, effects = step(after(group_of(future()), Send(ONE)), SendSucceeded(ONE, EVENT), at(7))
        assert outcomes(group) == [Sent(EVENT, Cause.ACTION, at(7).wall)]
        assert effects == (Finalised(group.members[0]),)
        assert group.finished

    def test_the_rest_of_the_group_is_discarded(self) -> None:
        group = after(group_of(future(1), future(2, timeout_ms=None)), Send(TWO), SendSucceeded(TWO, EVENT))
        assert outcomes(group) == [
            Cancelled(Cause.GROUP, START.wall),
            Sent(EVENT, Cause.ACTION, START.wall),
        ]

    def test_a_failed_due_send_is_the_outcome(self) -> None:
        group = after(group_of(future()), Wake(), now=at(10_000))
        group = after(group, SendFailed(ONE, FORBIDDEN), now=at(10_001))
        assert outcomes(group) == [Failed(FORBIDDEN, Cause.DELAY, at(10_001).wall)]

    def test_a_failed_due_send_leaves_the_groups_other_timers_running(self) -> None:
        group = after(group_of(future(1), future(2, timeout_ms=20_000)), Wake(), now=at(10_000))
        group = after(group, SendFailed(ONE, FORBIDDEN))
        assert group.scheduled == (group.members[1],)

    def test_a_failed_send_command_leaves_the_future_scheduled(self) -> None:
        before = group_of(future())
        group, effects = step(after(before, Send(ONE)), SendFailed(ONE, FORBIDDEN), START)
        assert effects == (CallerError(FORBIDDEN),)
        assert group.members == before.members
        assert group.sending is None

    def test_a_postponed_send_decides_nothing(self) -> None:
        before = group_of(future())
        group, effects = step(after(before, Wake(), now=at(10_000)), SendPostponed(ONE), at(10_000))
        assert effects == ()
        assert group.members == before.members

    @pytest.mark.parametrize(
        "command",
        [Send(ONE), Cancel(ONE), Restart(ONE), Wake(), CancelAll(Cause.ACCOUNT), Schedule((future(3),))],
        ids=lambda command: type(command).__name__,
    )
    def test_other_commands_wait_while_a_send_is_under_way(self, command: Command) -> None:
        group = group_of(future())
        assert not isinstance((*step(group, command, START)[1], None)[0], Refused)
        assert refusal(after(group, Send(ONE)), command).reason is Refusal.SENDING

    @pytest.mark.parametrize(
        "report",
        [SendSucceeded(ONE, EVENT), SendFailed(ONE, FORBIDDEN), SendPostponed(ONE)],
        ids=lambda report: type(report).__name__,
    )
    def test_a_report_about_a_send_that_nobody_wants_is_refused(self, report: Command) -> None:
        group = group_of(future())
        assert not isinstance((*step(after(group, Send(ONE)), report, START)[1], None)[0], Refused)
        assert refusal(group, report).reason is Refusal.NOT_SENDING


class TestCancelling:
    def test_a_cancelled_future_is_never_sent(self) -> None:
        group = after(group_of(future()), Cancel(ONE))
        assert outcomes(group) == [Cancelled(Cause.ACTION, START.wall)]
        assert step(group, Wake(), at(99_999))[1] == ()

    def test_a_group_without_a_timeout_future_is_discarded(self) -> None:
        group = after(group_of(future(1), future(2, timeout_ms=None)), Cancel(ONE))
        assert outcomes(group) == [
            Cancelled(Cause.ACTION, START.wall),
            Cancelled(Cause.GROUP, START.wall),
        ]

    def test_a_group_with_another_timeout_future_lives_on(self) -> None:
        group = after(group_of(future(1), future(2), future(3, timeout_ms=None)), Cancel(ONE))
        assert [member.id for member in group.scheduled] == [2, 3]

    def test_cancelling_an_action_future_leaves_its_group_alone(self) -> None:
        group = after(group_of(future(1), future(2, timeout_ms=None)), Cancel(TWO))
        assert [member.id for member in group.scheduled] == [1]

    def test_deactivation_ends_the_whole_group(self) -> None:
        group = after(group_of(future(1), future(2)), CancelAll(Cause.ACCOUNT))
        assert outcomes(group) == [Cancelled(Cause.ACCOUNT, START.wall)] * 2


SENT = after(group_of(future()), Send(ONE), SendSucceeded(ONE, EVENT))
CANCELLED = after(group_of(future()), Cancel(ONE))
FAILED = after(after(group_of(future()), Wake(), now=at(10_000)), SendFailed(ONE, FORBIDDEN))


class TestFinalised:
    @pytest.mark.parametrize(
        ("group", "command"),
        [(SENT, Send(ONE)), (CANCELLED, Cancel(ONE)), (FAILED, Cancel(ONE))],
        ids=["send after sent", "cancel after cancelled", "cancel after failed"],
    )
    def test_what_agrees_with_the_outcome_is_already_so(self, group: FutureGroup, command: Command) -> None:
        again, effects = step(group, command, START)
        assert again == group
        assert effects == (AlreadySo(group.members[0].outcome),)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("group", "command"),
        [
            (SENT, Cancel(ONE)),
            (SENT, Restart(ONE)),
            (CANCELLED, Send(ONE)),
            (CANCELLED, Restart(ONE)),
            (FAILED, Send(ONE)),
            (FAILED, Restart(ONE)),
        ],
    )
    def test_what_contradicts_the_outcome_is_refused(self, group: FutureGroup, command: Command) -> None:
        refused = refusal(group, command)
        assert refused.reason is Refusal.CONTRADICTS_OUTCOME
        assert refused.outcome == group.members[0].outcome

    @pytest.mark.parametrize("command", [Send(TWO), Cancel(TWO), Restart(TWO)])
    def test_a_future_that_is_not_in_the_group_is_unknown(self, command: Command) -> None:
        assert refusal(group_of(future()), command).reason is Refusal.UNKNOWN


def change(**fields: Any) -> StateChanged:
    values: dict[str, Any] = {"room_id": ROOM, "type": "m.call.member", "state_key": ALICE, "sender": BOB}
    return StateChanged(**{**values, **fields})


class TestNewerState:
    @pytest.mark.parametrize(
        ("rule", "sender", "ends"),
        [
            (CancelRule.NEVER, ALICE, False),
            (CancelRule.NEVER, BOB, False),
            (CancelRule.OTHER_SENDER, ALICE, False),
            (CancelRule.OTHER_SENDER, BOB, True),
            (CancelRule.ANY, ALICE, True),
            (CancelRule.ANY, BOB, True),
        ],
    )
    def test_the_cancel_rule_says_whose_state_ends_a_future(
        self, rule: CancelRule, sender: UserID, ends: bool
    ) -> None:
        group = after(group_of(call_leave(cancel_rule=rule)), change(sender=sender), now=at(3))
        expected = Failed(CANCELLED_BY_STATE_UPDATE, Cause.STATE, at(3).wall) if ends else None
        assert outcomes(group) == [expected]

    @pytest.mark.parametrize(
        "elsewhere",
        [{"room_id": RoomID("!other:hs1")}, {"type": "m.room.topic"}, {"state_key": ""}],
        ids=["room", "type", "state key"],
    )
    def test_state_elsewhere_ends_nothing(self, elsewhere: dict[str, Any]) -> None:
        group = group_of(call_leave())
        assert step(group, change(**elsewhere), START) == (group, ())
        assert step(group, change(), START)[1] != ()

    def test_a_message_of_the_same_type_is_not_ended(self) -> None:
        group = group_of(future(type="m.call.member", cancel_rule=CancelRule.ANY))
        assert step(group, change(state_key=""), START)[1] == ()

    def test_a_group_that_loses_its_timeout_future_is_discarded(self) -> None:
        group = after(group_of(call_leave(1), future(2, timeout_ms=None)), change())
        assert [type(outcome) for outcome in outcomes(group)] == [Failed, Cancelled]

    def test_newer_state_wins_against_an_event_that_is_being_made(self) -> None:
        group = after(group_of(call_leave()), Wake(), now=at(10_000))
        group = after(group, change(), now=at(10_000))
        assert group.sending is None
        assert refusal(group, SendSucceeded(ONE, EVENT)).reason is Refusal.NOT_SENDING

    def test_an_event_that_is_being_made_is_not_stopped_by_state_that_ends_another_member(self) -> None:
        other = call_leave(2, state_key="other")
        group = after(group_of(call_leave(1), other), Send(ONE), change(state_key="other"))
        assert group.sending == ONE

    def test_a_policy_can_let_futures_outlive_newer_state(self) -> None:
        group = group_of(call_leave())
        assert step(group, change(), START, cancels=never_cancel) == (group, ())


def test_a_future_is_a_value() -> None:
    with pytest.raises(AttributeError):
        future().outcome = None  # type: ignore[misc]
    assert isinstance(future(), Future)
