"""Children of spaces: which events count, and their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.ids import RoomID, UserID
from minihs.rooms.spaces import SpaceChild, children_of


def child(room_id: str, ts: int = 1, **content: Any) -> SpaceChild:
    return SpaceChild(
        type="m.space.child",
        state_key=room_id,
        sender=UserID("@alice:hs1"),
        content={"via": ["hs1"], **content},
        origin_server_ts=ts,
    )


def order(*events: SpaceChild, suggested_only: bool = False, limit: int = 100) -> list[RoomID]:
    return [link.room_id for link in children_of(events, suggested_only=suggested_only, limit=limit)]


def test_the_example_of_the_specification_is_ordered_as_it_says() -> None:
    events = [
        child("!b:x", 1640341000000, order=" "),
        child("!a:x", 1640141000000, order="aaaa"),
        child("!c:x", 1640841000000, order="first"),
        child("!e:x", 1640641000000),
        child("!d:x", 1640741000000),
    ]
    assert order(*reversed(events)) == ["!b:x", "!a:x", "!c:x", "!e:x", "!d:x"]


def test_equal_orders_go_by_time_and_equal_times_by_room_id() -> None:
    assert order(child("!c:x", 2, order="a"), child("!b:x", 1, order="a")) == ["!b:x", "!c:x"]
    assert order(child("!c:x", 1), child("!b:x", 1)) == ["!b:x", "!c:x"]


@pytest.mark.parametrize("bad", ["", "a" * 51, "\x19", "\x7f", "ä", 5, None, ["a"]])
def test_an_order_that_is_not_valid_counts_as_none(bad: object) -> None:
    assert order(child("!a:x", 2, order=bad), child("!b:x", 1)) == ["!b:x", "!a:x"]
    assert order(child("!a:x", 2, order="a" * 50), child("!b:x", 1)) == ["!a:x", "!b:x"]


@pytest.mark.parametrize("via", [None, [], "hs1", [5], ["no server name/"], {}])
def test_a_child_without_servers_to_join_through_is_none(via: object) -> None:
    assert order(child("!a:x", via=via), child("!b:x")) == ["!b:x"]


def test_a_child_is_named_by_a_room_id() -> None:
    assert order(child("#a:x"), child(""), child("!b:x")) == ["!b:x"]


def test_only_suggested_children_are_left_when_those_are_wanted() -> None:
    events = [child("!a:x", suggested=True), child("!b:x", suggested="true"), child("!c:x")]
    assert order(*events, suggested_only=True) == ["!a:x"]
    assert order(*events) == ["!a:x", "!b:x", "!c:x"]


def test_via_is_bounded_and_each_server_named_once() -> None:
    names = [f"hs{number}" for number in range(30)]
    [link] = children_of([child("!a:x", via=["hs0", *names])], suggested_only=False, limit=1)
    assert link.via == tuple(names[:9])


@given(st.permutations(range(6)), st.integers(0, 7))
def test_the_order_does_not_depend_on_that_of_the_events(places: list[int], limit: int) -> None:
    events = [child(f"!{n}:x", n % 2, **({"order": "o"} if n % 3 == 0 else {})) for n in range(6)]
    expected = order(*events)
    assert order(*(events[place] for place in places), limit=limit) == expected[:limit]
