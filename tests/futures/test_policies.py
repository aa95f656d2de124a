"""Which change of state ends which future, by its cancel rule and by what it came with."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.futures.commands import Schedule, StateChanged
from minihs.futures.effects import Finalised
from minihs.futures.engine import step
from minihs.futures.model import CancelRule, Failed, FutureGroup, GroupID
from minihs.futures.policies import by_cancel_rule, never_cancel
from tests.support.futures import ALICE, BOB, ROOM, START, at, call_leave, future, group_of

CALL = ("m.call.member", str(ALICE))


def change(room_id: RoomID = ROOM, slot: tuple[str, str] = CALL, sender: UserID = BOB) -> StateChanged:
    return StateChanged(room_id, *slot, sender)


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
@pytest.mark.parametrize(
    ("elsewhere", "same"),
    [
        ({}, True),
        ({"room_id": RoomID("!other:hs1")}, False),
        ({"slot": ("m.other", str(ALICE))}, False),
        ({"slot": ("m.call.member", "")}, False),
    ],
)
def test_the_rule_is_about_the_same_place_in_the_state(
    rule: CancelRule, sender: UserID, ends: bool, elsewhere: dict[str, Any], same: bool
) -> None:
    one = call_leave(cancel_rule=rule)
    assert by_cancel_rule(one, change(sender=sender, **elsewhere)) is (ends and same)


@pytest.mark.parametrize("rule", CancelRule)
@pytest.mark.parametrize("sender", [ALICE, BOB])
def test_what_a_future_is_bound_to_ends_it_whatever_its_rule(rule: CancelRule, sender: UserID) -> None:
    message = future(cancel_rule=rule, bound_to=CALL)
    assert by_cancel_rule(message, change(sender=sender))
    assert not by_cancel_rule(message, change(slot=("m.call.member", "another"), sender=sender))
    assert not by_cancel_rule(message, change(room_id=RoomID("!other:hs1"), sender=sender))


def test_a_bound_state_future_has_two_places() -> None:
    one = call_leave(bound_to=("m.call", ""))
    assert by_cancel_rule(one, change())
    assert by_cancel_rule(one, change(slot=("m.call", "")))


def test_an_experiment_may_let_futures_outlive_every_change() -> None:
    assert not never_cancel(call_leave(bound_to=CALL), change())


def test_a_batch_ends_whole_with_the_state_event_that_it_came_with() -> None:
    timeout = future(1, bound_to=CALL, part="timeout")
    actions = [future(n, timeout_ms=None, bound_to=CALL, part=f"action/{n}") for n in (2, 3)]
    group = group_of(timeout, *actions)
    assert group.part("action/3") is not None
    after, effects = step(group, change(), at(5))
    assert [type(effect) for effect in effects] == [Finalised] * 3
    assert all(isinstance(one.outcome, Failed) for one in after.members)
    assert after.part("action/3") is None, "only what is scheduled can be asked for"


def test_parts_keep_their_names_and_bonds_when_their_timer_starts() -> None:
    one = future(1, bound_to=CALL, part="timeout")
    group, _ = step(FutureGroup(GroupID(1), ALICE), Schedule((one,)), START)
    assert (group.members[0].part, group.members[0].bound_to) == ("timeout", CALL)
    assert group.part("another") is None
