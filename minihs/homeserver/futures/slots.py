"""Which groups have a scheduled state event that a newer one may end: what memory knows of it.

A slot is a room, an event type and a state key, known by 63 bits of its hash: a slot that only looks the same
costs a read and nothing else. The store knows all of them; memory knows those of the groups that it holds,
and everything about the slots that it was asked for lately.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from minihs.events.ids import RoomID
from minihs.futures.model import CancelRule, Future, GroupID
from minihs.store.future_rows import slot_hash

StateSlot = tuple[RoomID, str, str]
"""A room, an event type and a state key."""


class StateSlots:
    """Slots and their groups. Of a slot that it `knows` no group is missing; there are at most `capacity` of
    these. `holds` says whether a group is in memory."""

    def __init__(self, capacity: int, holds: Callable[[GroupID], bool]) -> None:
        self._capacity = capacity
        self._holds = holds
        self._groups: dict[int, set[GroupID]] = {}
        self._known: dict[int, None] = {}
        self._being_learnt: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._groups)

    def knows(self, slot: int) -> bool:
        """Whether no group of the slot is missing here."""
        return slot in self._known

    @contextmanager
    def learning(self, slot: int) -> Iterator[None]:
        """While all groups of a slot are being added from the store; it is known afterwards."""
        self._being_learnt[slot] += 1
        try:
            yield
            self._known[slot] = None
        finally:
            self._being_learnt[slot] -= 1
            if not self._being_learnt[slot]:
                del self._being_learnt[slot]
        if len(self._known) > self._capacity:
            self._forget(next(iter(self._known)))

    def add(self, slot: int, group_id: GroupID) -> None:
        """The group has a future on the slot."""
        self._groups.setdefault(slot, set()).add(group_id)

    def discard(self, slot: int, group_id: GroupID) -> None:
        """The group has no future on the slot any more."""
        groups = self._groups.get(slot)
        if groups is not None:
            groups.discard(group_id)
            if not groups:
                del self._groups[slot]

    def left_memory(self, group_id: GroupID, slots: Iterable[int]) -> None:
        """A group that is on these slots is left to the store."""
        for slot in slots:
            # What is being learnt may have been read before the group was stored.
            if slot not in self._known and slot not in self._being_learnt:
                self.discard(slot, group_id)

    def groups(self, slot: int) -> tuple[GroupID, ...]:
        """The groups of a slot, in order of their IDs."""
        return tuple(sorted(self._groups.get(slot, ())))

    def _forget(self, slot: int) -> None:
        del self._known[slot]
        if slot in self._being_learnt:
            return  # once more, and until then nothing may go missing
        for group_id in self.groups(slot):
            if not self._holds(group_id):
                self.discard(slot, group_id)


def slots_of(future: Future) -> tuple[int, ...]:
    """The slots on which a newer state event may end the future; none when none can."""
    slots: tuple[int, ...] = ()
    if future.state_key is not None and future.cancel_rule is not CancelRule.NEVER:
        slots = (slot_hash(future.room_id, future.type, future.state_key),)
    if future.bound_to is not None:
        slots = (*slots, slot_hash(future.room_id, *future.bound_to))
    return slots
