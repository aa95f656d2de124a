"""Which groups have a scheduled state event that a newer one may end: two numbers for each, for all of them.

A slot is a room, an event type and a state key, known by 63 bits of its hash: a slot that only looks the same
costs a read and nothing else.
"""

from __future__ import annotations

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, Future, GroupID
from minihs.store.future_rows import slot_hash

StateSlot = tuple[RoomID, str, str]
"""A room, an event type and a state key."""


class StateSlots:
    """Slots and their groups; nearly every slot has one."""

    def __init__(self) -> None:
        self._groups: dict[int, GroupID | tuple[GroupID, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, slot: int, group_id: GroupID) -> None:
        """The group has a future on the slot."""
        present = self._groups.get(slot)
        if present is None:
            self._groups[slot] = group_id
        elif isinstance(present, tuple):
            self._groups[slot] = tuple(sorted({*present, group_id}))
        elif present != group_id:
            self._groups[slot] = (min(present, group_id), max(present, group_id))

    def discard(self, slot: int, group_id: GroupID) -> None:
        """The group has no future on the slot any more."""
        left = tuple(one for one in self.groups(slot) if one != group_id)
        if len(left) > 1:
            self._groups[slot] = left
        elif left:
            self._groups[slot] = left[0]
        else:
            self._groups.pop(slot, None)

    def groups(self, slot: int) -> tuple[GroupID, ...]:
        """The groups of a slot, in order of their IDs."""
        present = self._groups.get(slot)
        if present is None:
            return ()
        return present if isinstance(present, tuple) else (present,)


def slots_of(future: Future) -> tuple[int, ...]:
    """The slots on which a newer state event may end the future; none when none can."""
    slots: tuple[int, ...] = ()
    if future.state_key is not None and future.cancel_rule is not CancelRule.NEVER:
        slots = (slot_hash(future.room_id, future.type, future.state_key),)
    if future.bound_to is not None:
        slots = (*slots, slot_hash(future.room_id, *future.bound_to))
    return slots
