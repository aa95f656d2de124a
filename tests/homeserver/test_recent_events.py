"""The window of recent events agrees with a plain list, however it is trimmed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.history.recent_events import RecentEvents

ROOMS = [RoomID(f"!{name}:hs1") for name in "abc"]
KEY = ("m.room.topic", "")


@given(
    st.lists(st.tuples(st.sampled_from(ROOMS), st.integers(1, 3), st.booleans()), max_size=60),
    st.integers(1, 8),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_it_holds_what_it_says_it_covers(
    arrivals: list[tuple[RoomID, int, bool]], capacity: int, after: int, upto: int
) -> None:
    window = RecentEvents(10, capacity)
    everything: list[tuple[int, RoomID, bool]] = []
    position = 10
    for room, gap, is_state in arrivals:
        position += gap
        everything.append((position, room, is_state))
        changes = [(KEY, EventID("$old"), EventID(f"${position}"))] if is_state else []
        window.add(
            room,
            EventID(f"${position}"),
            position,
            changes,
            key=KEY if is_state else None,
            local=is_state,
        )
    assert window.current == position
    assert len(window._positions) <= 2 * capacity
    if not window.covers(after, upto):
        assert after < window.floor or upto > window.current
        return
    assert set(window.active_rooms(after)) == {room for at, room, _ in everything if at > after}
    for room in ROOMS:
        here = [(at, state) for at, name, state in everything if name == room and after < at <= upto]
        rows = window.rows(room, after=after, upto=upto)
        assert [(row.position, row.replaces) for row in rows] == [
            (at, "$old" if state else None) for at, state in here
        ]
        changes_here = window.state_changes(room, after=after, upto=upto)
        assert [change.position for change in changes_here] == [at for at, state in here if state]
        assert all(window.is_local(room, at) is state for at, state in here)


def test_a_fresh_window_covers_nothing_from_before_it() -> None:
    window = RecentEvents(10)
    assert window.covers(10, 10)
    assert not window.covers(9, 10)
    assert not window.covers(10, 11)
    assert window.rows(ROOMS[0], after=10, upto=10) == ()
    assert not window.is_local(ROOMS[0], 10)


def test_a_change_that_is_not_the_events_own_key_is_not_what_it_replaced() -> None:
    window = RecentEvents(0)
    change = (KEY, EventID("$b"), EventID("$a"))
    window.add(ROOMS[0], EventID("$1"), 1, [change], key=None, local=False)
    window.add(ROOMS[0], EventID("$2"), 2, [change], key=KEY, local=False)
    assert [row.replaces for row in window.rows(ROOMS[0], after=0, upto=2)] == [None, None]


def test_a_position_that_is_no_event_moves_the_window_on() -> None:
    window = RecentEvents(5)
    window.advance(7)
    window.advance(6)
    assert window.covers(5, 7)
    assert window.current == 7
