"""The state of a room at one moment: which event holds each (type, state key).

An immutable map that shares structure with the maps it came from, so keeping the state at every event of a
busy room is cheap. Holds ids only; what the events say is looked up elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar, overload

import immutables

if TYPE_CHECKING:
    from minihs.events.event import StateKey
    from minihs.events.ids import EventID

Default = TypeVar("Default")


class StateChange(NamedTuple):
    """One key whose event differs between two states; None stands for "not set"."""

    key: StateKey
    old: EventID | None
    new: EventID | None


class StateMap(Mapping["StateKey", "EventID"]):
    """State of a room, from (type, state key) to event ID.

    Looking up and setting a key cost about as much as in a dict, whatever the size. Iteration (also through
    `keys`, `values` and `items`) is sorted by key, because hash order must not reach anything observable.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: immutables.Map[StateKey, EventID] | None = None) -> None:
        self._entries: immutables.Map[StateKey, EventID] = immutables.Map() if entries is None else entries

    @classmethod
    def of(cls, entries: Mapping[StateKey, EventID] | Iterable[tuple[StateKey, EventID]]) -> Self:
        """The state that holds these entries; of pairs with the same key the last one counts."""
        if isinstance(entries, cls):
            return entries
        return cls(immutables.Map(entries))

    def __getitem__(self, key: StateKey) -> EventID:
        return self._entries[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[StateKey]:
        return iter(sorted(self._entries))

    @overload
    def get(self, key: StateKey, /) -> EventID | None: ...
    @overload
    def get(self, key: StateKey, /, default: Default) -> EventID | Default: ...
    def get(self, key: StateKey, /, default: object = None) -> object:
        """The event that holds `key`, or `default`."""
        return self._entries.get(key, default)

    def set(self, key: StateKey, event_id: EventID) -> Self:
        """This state with `key` held by `event_id`."""
        return type(self)(self._entries.set(key, event_id))

    def update(
        self, entries: Iterable[tuple[StateKey, EventID]] = (), removed: Iterable[StateKey] = ()
    ) -> Self:
        """This state without the keys in `removed` (absent ones are ignored) and then with `entries` set."""
        draft = self._entries.mutate()
        for key in removed:
            draft.pop(key, None)
        for key, event_id in entries:
            draft[key] = event_id
        return type(self)(draft.finish())

    def unsorted_items(self) -> Iterable[tuple[StateKey, EventID]]:
        """All entries in hash order, which differs from process to process.

        For bulk work whose outcome does not depend on the order; everything else iterates the map itself.
        """
        return self._entries.items()

    def difference(self, other: StateMap) -> tuple[StateChange, ...]:
        """What turns this state into `other`, sorted by key."""
        before, after = self._entries, other._entries
        if before is after:
            return ()
        changes = [
            StateChange(key, before.get(key), event_id)
            for key, event_id in after.items()
            if before.get(key) != event_id
        ]
        changes += [StateChange(key, event_id, None) for key, event_id in before.items() if key not in after]
        return tuple(sorted(changes, key=_key))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StateMap):
            return self._entries == other._entries
        if isinstance(other, Mapping):
            return len(self) == len(other) and all(self._entries.get(key) == other[key] for key in other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        return f"StateMap({dict(self.items())!r})"


_key = itemgetter(0)
