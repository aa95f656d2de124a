"""The index of slots on which newer state may end futures."""

from __future__ import annotations

import pytest

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, GroupID
from minihs.homeserver.futures.slots import StateSlots, slots_of
from minihs.store.future_rows import slot_hash
from tests.support.futures import call_leave

ONE, TWO, THREE = GroupID(1), GroupID(2), GroupID(3)


def test_groups_of_a_slot_come_in_order_and_once() -> None:
    slots = StateSlots(10, lambda _: False)
    assert not slots
    for group_id in (THREE, ONE, THREE, TWO, ONE):
        slots.add(7, group_id)
    assert slots.groups(7) == (ONE, TWO, THREE)
    assert slots.groups(8) == ()


def test_a_slot_that_nobody_is_on_takes_no_room() -> None:
    slots = StateSlots(10, lambda _: False)
    for group_id in (ONE, TWO, THREE):
        slots.add(7, group_id)
    for group_id, left in ((TWO, (ONE, THREE)), (TWO, (ONE, THREE)), (ONE, (THREE,)), (THREE, ())):
        slots.discard(7, group_id)
        assert slots.groups(7) == left
    assert not slots


def test_what_is_learnt_about_a_slot_outlives_its_groups_in_memory() -> None:
    slots = StateSlots(10, lambda _: False)
    with slots.learning(7):
        slots.add(7, ONE)
    slots.add(8, ONE)
    assert (slots.knows(7), slots.knows(8)) == (True, False)
    slots.left_memory(ONE, (7, 8))
    assert (slots.groups(7), slots.groups(8)) == ((ONE,), ())


def test_a_group_that_comes_and_goes_while_its_slot_is_learnt_is_not_missed() -> None:
    slots = StateSlots(10, lambda _: False)
    with slots.learning(7):
        slots.add(7, ONE)
        slots.left_memory(ONE, (7,))
    assert slots.groups(7) == (ONE,)


def test_what_could_not_be_learnt_is_not_known() -> None:
    slots = StateSlots(10, lambda _: False)
    with pytest.raises(OSError), slots.learning(7):  # noqa: PT011 - any failure of the store
        raise OSError
    assert not slots.knows(7)


def test_slots_are_forgotten_but_for_the_groups_in_memory() -> None:
    slots = StateSlots(2, lambda group_id: group_id == ONE)
    for slot in (7, 8, 9):
        with slots.learning(slot):
            slots.add(slot, ONE)
            slots.add(slot, TWO)
    assert [slots.knows(slot) for slot in (7, 8, 9)] == [False, True, True]
    assert [slots.groups(slot) for slot in (7, 8)] == [(ONE,), (ONE, TWO)]


def test_a_slot_that_is_being_learnt_again_keeps_its_groups_when_it_is_forgotten() -> None:
    slots = StateSlots(1, lambda _: False)
    with slots.learning(7):
        with slots.learning(7):
            slots.add(7, ONE)
        with slots.learning(8):
            pass
        assert not slots.knows(7)
        assert slots.groups(7) == (ONE,)
    assert slots.groups(7) == (ONE,)


def test_only_state_that_newer_state_may_end_is_on_a_slot() -> None:
    waiting = call_leave()
    assert len(slots_of(waiting)) == 1
    for other in (call_leave(state_key=None), call_leave(cancel_rule=CancelRule.NEVER)):
        assert slots_of(other) == ()


def test_a_future_is_also_on_the_slot_of_the_state_that_it_came_with() -> None:
    own, bond = slots_of(call_leave(bound_to=("m.call.member", "other")))
    assert (own,) == slots_of(call_leave())
    assert (bond,) == slots_of(call_leave(state_key="other"))
    assert slots_of(call_leave(state_key=None, bound_to=("m.call.member", "other"))) == (bond,)


def test_room_type_and_key_make_the_slot() -> None:
    slots = slots_of(call_leave())
    assert slots == slots_of(call_leave(2))
    for change in ({"room_id": RoomID("!other:hs1")}, {"type": "m.other"}, {"state_key": "other"}):
        assert slots_of(call_leave(**change)) != slots
    assert slot_hash("a", "b", "c") != slot_hash("a", "b\0c", "")
