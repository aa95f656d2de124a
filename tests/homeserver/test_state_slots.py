"""The index of slots on which newer state may end futures."""

from __future__ import annotations

from minihs.events.ids import RoomID
from minihs.futures.model import Cancelled, CancelRule, Cause, GroupID
from minihs.homeserver.futures.slots import StateSlots, slot_of
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
    assert slot_of(waiting) is not None
    for other in (
        call_leave(state_key=None),
        call_leave(cancel_rule=CancelRule.NEVER),
        call_leave(outcome=Cancelled(Cause.ACTION, 0)),
    ):
        assert slot_of(other) is None


def test_room_type_and_key_make_the_slot() -> None:
    slot = slot_of(call_leave())
    assert slot == slot_of(call_leave(2))
    for change in ({"room_id": RoomID("!other:hs1")}, {"type": "m.other"}, {"state_key": "other"}):
        assert slot_of(call_leave(**change)) != slot
    assert slot_hash("a", "b", "c") != slot_hash("a", "b\0c", "")
