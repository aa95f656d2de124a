"""The index of slots on which newer state may end futures."""

from __future__ import annotations

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, GroupID
from minihs.homeserver.futures.slots import StateSlots, slots_of
from minihs.store.future_rows import slot_hash
from tests.support.futures import call_leave

ONE, TWO, THREE = GroupID(1), GroupID(2), GroupID(3)


def test_groups_of_a_slot_come_in_order_and_once() -> None:
    slots = StateSlots()
    assert not slots
    for group_id in (THREE, ONE, THREE, TWO, ONE):
        slots.add(7, group_id)
    assert slots.groups(7) == (ONE, TWO, THREE)
    assert slots.groups(8) == ()


def test_a_slot_that_nobody_is_on_takes_no_room() -> None:
    slots = StateSlots()
    for group_id in (ONE, TWO, THREE):
        slots.add(7, group_id)
    for group_id, left in ((TWO, (ONE, THREE)), (TWO, (ONE, THREE)), (ONE, (THREE,)), (THREE, ())):
        slots.discard(7, group_id)
        assert slots.groups(7) == left
    assert not slots


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
