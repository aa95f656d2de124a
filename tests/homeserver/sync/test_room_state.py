"""Which state goes beside a timeline: changes that no timeline event tells, as after a state resolution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.history.event_format import Entry
from minihs.homeserver.history.event_visibility import FOR_EVER, Viewer
from minihs.homeserver.sync.plan import RoomPlan
from minihs.homeserver.sync.room_state import LazyLoading, RoomStateReader
from minihs.platform.clock import VirtualClock
from minihs.rooms.state_map import StateMap
from minihs.store.timeline import StateChangeRow
from tests.support.deferreds import run

ROOM, ALICE = RoomID("!r:hs1"), UserID("@alice:hs1")
TOPIC: StateKey = ("m.room.topic", "")
NAME: StateKey = ("m.room.name", "")
BOB_MEMBER: StateKey = ("m.room.member", "@bob:hs1")


class Event:
    """As much of an event as the choice of state reads."""

    def __init__(self, event_id: str, key: StateKey | None, sender: str) -> None:
        self.event_id = event_id
        self.is_state = key is not None
        self.key = key
        self.sender = sender


def told(position: int, key: StateKey | None = None, sender: str = ALICE) -> Any:
    """An entry of the timeline, named after its position."""

    class Row:
        event = Event(f"${position}", key, sender)

    return Entry(Row(), position)  # type: ignore[arg-type]


def change(position: int, key: StateKey, new: str | None, old: str | None = None) -> StateChangeRow:
    return StateChangeRow(position, key, _id(new), _id(old))


def _id(text: str | None) -> EventID | None:
    return None if text is None else EventID(text)


class Room:
    """A room's current state and the changes that led there."""

    def __init__(self, current: dict[StateKey, str], changes: Sequence[StateChangeRow]) -> None:
        self.current = StateMap.of({key: EventID(value) for key, value in current.items()})
        self.changes = list(changes)

    async def current_state(self, room_id: RoomID) -> StateMap:
        return self.current

    async def all_state_changes(self, room_id: RoomID, *, after: int, upto: int) -> list[StateChangeRow]:
        return [change for change in self.changes if after < change.position <= upto]


def choose(
    room: Room,
    timeline: Iterable[Any],
    *,
    after: int,
    upto: int,
    full: bool = False,
    at_end: bool = False,
    lazy: LazyLoading | None = None,
) -> dict[StateKey, str]:
    plan = RoomPlan(Viewer(ALICE, ROOM, "join", 1, FOR_EVER), after, upto, full_state=full)
    reader = RoomStateReader(room, room)  # type: ignore[arg-type]
    changes = [change for change in room.changes if after < change.position <= upto]
    return dict(run(VirtualClock(), reader.choose(plan, list(timeline), changes, lazy, at_end=at_end)))


def test_a_key_that_a_resolution_changed_beside_the_timeline_is_given_as_it_ends() -> None:
    room = Room({TOPIC: "$old"}, [change(7, TOPIC, "$old", "$new")])
    assert choose(room, [told(7)], after=6, upto=7) == {TOPIC: "$old"}


def test_the_last_of_several_such_changes_counts() -> None:
    room = Room({TOPIC: "$b"}, [change(7, TOPIC, "$a", "$x"), change(8, TOPIC, "$b", "$a")])
    assert choose(room, [told(7), told(8)], after=6, upto=8) == {TOPIC: "$b"}


def test_a_key_that_a_resolution_removed_is_not_given() -> None:
    room = Room({}, [change(7, TOPIC, None, "$x")])
    assert choose(room, [told(7)], after=6, upto=7) == {}


def test_the_state_that_came_with_a_join_elsewhere_is_given_though_it_came_at_the_timelines_start() -> None:
    room = Room(
        {TOPIC: "$topic", NAME: "$name", BOB_MEMBER: "$5"},
        [change(5, TOPIC, "$topic"), change(5, NAME, "$name"), change(5, BOB_MEMBER, "$5")],
    )
    chosen = choose(room, [told(5, BOB_MEMBER)], after=0, upto=5, full=True)
    assert chosen == {TOPIC: "$topic", NAME: "$name"}


def test_what_changed_after_the_end_of_the_sync_is_undone() -> None:
    room = Room({TOPIC: "$9"}, [change(3, TOPIC, "$3"), change(9, TOPIC, "$9", "$3")])
    assert choose(room, [told(6)], after=0, upto=8, full=True) == {TOPIC: "$3"}


def test_what_appeared_after_the_end_of_the_sync_is_left_out() -> None:
    room = Room({TOPIC: "$9"}, [change(9, TOPIC, "$9", None)])
    assert choose(room, [told(6)], after=0, upto=8, full=True) == {}


@pytest.mark.parametrize("at_end", [True, False])
def test_lazy_loading_takes_the_sender_before_or_after_the_timeline(at_end: bool) -> None:
    room = Room({BOB_MEMBER: "$8"}, [change(8, BOB_MEMBER, "$8", "$2")])
    timeline = [told(7, sender="@bob:hs1"), told(8, BOB_MEMBER, sender="@bob:hs1")]
    lazy = LazyLoading((), {})
    chosen = choose(room, timeline, after=6, upto=8, at_end=at_end, lazy=lazy)
    assert chosen == {BOB_MEMBER: "$8" if at_end else "$2"}


def test_a_member_that_is_held_already_is_not_repeated() -> None:
    room = Room({BOB_MEMBER: "$2"}, [])
    timeline = [told(7, sender="@bob:hs1")]
    for held, expected in [("$2", {}), ("$1", {BOB_MEMBER: "$2"})]:
        lazy = LazyLoading((), {UserID("@bob:hs1"): EventID(held)})
        assert choose(room, timeline, after=6, upto=7, lazy=lazy) == expected


STEPS = st.lists(st.tuples(st.sampled_from([TOPIC, NAME]), st.booleans()), max_size=12)


@given(STEPS, st.integers(0, 12), st.integers(0, 12), st.booleans())
def test_state_and_timeline_together_lead_to_the_rooms_state(
    steps: list[tuple[StateKey, bool]], after: int, shown: int, at_end: bool
) -> None:
    """Each step sets a key by an event of its own, or (False) is a message; the last `shown` are shown."""
    changes, state, history = [], {}, [{}]
    timeline: list[Any] = []
    for position, (key, is_state) in enumerate(steps, start=1):
        if is_state:
            changes.append(change(position, key, f"${position}", state.get(key)))
            state = {**state, key: f"${position}"}
        timeline.append(told(position, key if is_state else None))
        history.append(state)
    after, upto = min(after, len(steps)), len(steps)
    timeline = timeline[after:][-shown:] if shown else []
    known = dict(history[after])
    known |= choose(Room(state, changes), timeline, after=after, upto=upto, at_end=at_end)
    if not at_end:
        for entry in timeline:
            if entry.event.is_state:
                known[entry.event.key] = entry.event.event_id
    assert known == state
