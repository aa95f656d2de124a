"""The `state` (or `state_after`) of a room in a sync: which events the client needs beside the timeline.

A client applies `state`, then the state events of the timeline, and is to end up with the room's state. So:
what a timeline event sets is left to it, and `state` has the value from before the timeline; what changed
otherwise (in a gap, or by a state resolution) is given as it stands at the end. `state_after` is the state at
the end and ignores the timeline. Source: Client-Server API, `GET /sync`, "Syncing", "Lazy-loading".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.history.event_format import Entry
from minihs.homeserver.history.event_visibility import FOR_EVER
from minihs.homeserver.member_change import MEMBER
from minihs.homeserver.rooms.service import Rooms
from minihs.homeserver.sync.plan import RoomPlan
from minihs.store.timeline import StateChangeRow, TimelineStore


class LazyLoading(msgspec.Struct, frozen=True):
    """Which members to load: `always` (own membership, heroes), and `held` are those not to repeat."""

    always: Sequence[UserID]
    held: Mapping[UserID, EventID]


class RoomStateReader:
    """Chooses the state events of a room's section."""

    def __init__(self, rooms: Rooms, timeline: TimelineStore) -> None:
        self._rooms = rooms
        self._timeline = timeline

    async def choose(
        self,
        plan: RoomPlan,
        timeline: Sequence[Entry],
        changes: Sequence[StateChangeRow],
        lazy: LazyLoading | None,
        *,
        at_end: bool,
    ) -> dict[StateKey, EventID]:
        """The events of `state` (with `at_end`, of `state_after`), sorted by key.

        `timeline` is what the client will see, the oldest first; `changes` are all those of the plan's span.
        """
        start = timeline[0].position if timeline else plan.upto + 1
        by_timeline = set() if at_end else {entry.event.key for entry in timeline if entry.event.is_state}
        if plan.full_state:
            chosen = await self._whole(plan, timeline, start, by_timeline, lazy)
        else:
            chosen = {
                change.key: change.new
                for change in changes
                if change.key not in by_timeline or change.position < start
            }
            if lazy is not None:
                final = await self._final(plan)
                before = _before(changes, start)
                for key in _member_keys(timeline, lazy):
                    value = before.get(key) if key in by_timeline else final.get(key)
                    if key not in chosen and lazy.held.get(UserID(key[1])) != value:
                        chosen[key] = value
        return {key: event_id for key, event_id in sorted(chosen.items()) if event_id is not None}

    async def has_name(self, room_id: RoomID) -> bool:
        """Whether the room has a name or an alias of its own, so that clients need no heroes to name it."""
        keys = (("m.room.name", ""), ("m.room.canonical_alias", ""))
        named = await self._rooms.state_events(room_id, keys)
        return any(event.content.get("name") or event.content.get("alias") for event in named.values())

    async def _whole(
        self,
        plan: RoomPlan,
        timeline: Sequence[Entry],
        start: int,
        by_timeline: AbstractSet[StateKey],
        lazy: LazyLoading | None,
    ) -> dict[StateKey, EventID | None]:
        final = await self._rooms.current_state(plan.room_id)
        # Read after the state, so that no change between the two is missed; those that came later are undone.
        late = await self._timeline.all_state_changes(
            plan.room_id, after=min(start - 1, plan.upto), upto=FOR_EVER
        )
        undone = _before(late, plan.upto + 1)
        before = _before(late, start)
        wanted = None if lazy is None else {*_member_keys(timeline, lazy)}
        chosen: dict[StateKey, EventID | None] = {
            key: event_id
            for key, event_id in final.unsorted_items()
            if wanted is None or key[0] != MEMBER or key in wanted
        }
        chosen |= {
            key: old for key, old in undone.items() if wanted is None or key[0] != MEMBER or key in wanted
        }
        chosen |= {key: before[key] for key in by_timeline & before.keys()}
        return chosen

    async def _final(self, plan: RoomPlan) -> Mapping[StateKey, EventID]:
        """The state at the end of the plan's span."""
        current = await self._rooms.current_state(plan.room_id)
        if plan.viewer.membership == "join":
            return current
        late = await self._timeline.all_state_changes(plan.room_id, after=plan.upto, upto=FOR_EVER)
        undone = _before(late, plan.upto + 1)
        return current.update(
            ((key, old) for key, old in undone.items() if old is not None),
            removed=(key for key, old in undone.items() if old is None),
        )


def _before(changes: Iterable[StateChangeRow], position: int) -> dict[StateKey, EventID | None]:
    """The values, just before `position`, of all keys that changed at or after it."""
    values: dict[StateKey, EventID | None] = {}
    for change in changes:
        if change.position >= position:
            values.setdefault(change.key, change.old)
    return values


def _member_keys(timeline: Sequence[Entry], lazy: LazyLoading) -> Iterable[StateKey]:
    """The member events that lazy loading asks for, each once."""
    users = dict.fromkeys([*(entry.event.sender for entry in timeline), *lazy.always])
    return [(MEMBER, user_id) for user_id in users]
