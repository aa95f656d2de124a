"""Walks over drawn graphs: auth chains, topological order, missing events, forward extremities."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.event import Event
from minihs.events.ids import EventID
from minihs.rooms.dag import (
    AuthChainWalk,
    MissingEvents,
    auth_chain,
    authorising_ids,
    extremities_after,
    leading_to,
    parents_first,
    topological_order,
)

from .drawing import ALICE, BOB, Drawing, join, topic


def message(
    room: Drawing, name: str, prev: Sequence[str] = (), auth: Sequence[str] = (), at: int = 0
) -> Event:
    return room.add(name, ALICE, "m.room.message", None, {}, prev=prev, auth=auth, at=at)


def names(events: Sequence[Event]) -> str:
    return " ".join(event.event_id for event in events)


class TestAuthChain:
    def test_it_holds_what_is_cited_directly_and_indirectly_but_not_the_event(self) -> None:
        room = Drawing("11")
        base = room.begin().then("$bob", BOB, *join(BOB)).then("$topic", ALICE, *topic("x"))
        chain = auth_chain([room.events[EventID("$topic")]], room.events.get)
        assert list(chain) == ["$alice", "$create", "$power"]
        assert all(chain[event_id] is room.events[event_id] for event_id in chain)
        assert base.tip == ("$topic",)

    def test_from_version_12_on_it_holds_the_create_event_that_the_room_id_names(self) -> None:
        room = Drawing("12")
        room.begin()
        power = room.events[EventID("$power")]
        assert power.auth_events == ("$alice",)
        assert authorising_ids(power) == ("$create", "$alice")
        assert authorising_ids(room.events[EventID("$create")]) == ()
        assert list(auth_chain([power], room.events.get)) == ["$alice", "$create"]

    def test_a_longer_chain_than_python_can_recurse_is_walked(self) -> None:
        room = Drawing("11")
        message(room, "$0")
        for number in range(1, 3_000):
            message(room, f"${number}", auth=[f"${number - 1}"])
        assert len(auth_chain([room.events[EventID("$2999")]], room.events.get)) == 2_999

    def test_all_missing_events_of_the_frontier_are_named_at_once_and_sorted(self) -> None:
        room = Drawing("11")
        message(room, "$known", auth=["$lost"])
        start = message(room, "$start", auth=["$z", "$known", "$a"])
        with pytest.raises(MissingEvents) as caught:
            auth_chain([start], room.events.get)
        assert caught.value.ids == ("$a", "$lost", "$z")
        assert "$lost" in str(caught.value)

    def test_a_walk_asks_for_each_event_once_and_in_rounds(self) -> None:
        room = Drawing("11")
        message(room, "$root")
        message(room, "$left", auth=["$root"])
        message(room, "$right", auth=["$root"])
        walk = AuthChainWalk([EventID("$right"), EventID("$left"), EventID("$gone")])
        rounds = []
        while wanted := walk.wanted():
            rounds.append(wanted)
            walk.feed(room.events)
        assert rounds == [("$gone", "$left", "$right"), ("$root",)]
        assert sorted(walk.chain) == ["$left", "$right", "$root"]
        assert walk.absent == ("$gone",)


class TestTopologicalOrder:
    def test_parents_go_first_whatever_depth_and_time_claim(self) -> None:
        room = Drawing("11")
        message(room, "$old", at=9)
        child = message(room, "$child", prev=["$old"], at=1)
        assert names(topological_order([child, room.events[EventID("$old")]])) == "$old $child"

    def test_what_the_graph_leaves_open_goes_by_depth_then_time_then_id(self) -> None:
        room = Drawing("11")
        root = message(room, "$root")
        late = message(room, "$late", at=7)
        tied_b = message(room, "$b", at=5)
        tied_a = message(room, "$a", at=5)
        deep = message(room, "$deep", prev=["$root"], at=1)
        assert names(topological_order([deep, late, tied_b, tied_a, root])) == "$root $a $b $late $deep"

    def test_links_that_lead_out_of_the_set_and_duplicates_do_not_matter(self) -> None:
        room = Drawing("11")
        message(room, "$outside")
        inside = message(room, "$inside", prev=["$outside", "$outside"])
        assert names(topological_order([inside, inside])) == "$inside"

    def test_other_links_than_prev_events_can_be_followed(self) -> None:
        room = Drawing("11")
        cited = message(room, "$z", at=9)
        citing = message(room, "$a", auth=["$z"], at=1)
        assert names(topological_order([citing, cited])) == "$a $z"
        assert names(topological_order([citing, cited], authorising_ids)) == "$z $a"

    def test_a_circle_is_refused(self) -> None:
        room = Drawing("11")
        one = message(room, "$1", auth=["$2"])
        two = message(room, "$2", auth=["$1"])
        with pytest.raises(ValueError, match=r"circle: \$1, \$2"):
            topological_order([one, two], authorising_ids)

    @given(st.data())
    def test_the_order_does_not_depend_on_that_of_the_input(self, data: st.DataObject) -> None:
        room = Drawing("11")
        for number in range(data.draw(st.integers(1, 12))):
            prev = data.draw(st.sets(st.sampled_from([*room.events, None]), max_size=3))
            message(
                room,
                f"${number}",
                prev=sorted(event_id for event_id in prev if event_id is not None),
                at=data.draw(st.integers(0, 2)),
            )
        events = list(room.events.values())
        ordered = topological_order(events)
        assert topological_order(data.draw(st.permutations(events))) == ordered
        place = {event.event_id: index for index, event in enumerate(ordered)}
        assert all(
            place[prev_id] < place[event.event_id] for event in events for prev_id in event.prev_events
        )


class TestParentsFirst:
    def test_each_comes_after_its_own_parents_and_others_are_ignored(self) -> None:
        ids = [EventID(name) for name in ("$top", "$left", "$right", "$base", "$outside")]
        top, left, right, base, outside = ids
        parents = {top: (left, right), left: (base, outside), right: (left, base), base: ()}
        assert list(parents_first(parents)) == [base, left, right, top]
        assert list(parents_first({top: (top,)})) == [top]  # what can be no event ends, too

    @given(st.data())
    def test_it_holds_for_any_graph(self, data: st.DataObject) -> None:
        ids = [EventID(f"${number}") for number in range(data.draw(st.integers(0, 12)))]
        parents = {
            event_id: tuple(data.draw(st.lists(st.sampled_from(ids[:number]), max_size=4))) if number else ()
            for number, event_id in enumerate(ids)
        }
        order = list(parents_first(dict(data.draw(st.permutations(list(parents.items()))))))
        assert sorted(order) == sorted(ids)
        place = {event_id: index for index, event_id in enumerate(order)}
        assert all(place[up] < place[event_id] for event_id in ids for up in parents[event_id])


def test_what_leads_to_an_event_is_found_within_the_given_events_alone() -> None:
    room = Drawing("11")
    message(room, "$older")
    message(room, "$old", prev=["$older"])
    message(room, "$aside", prev=["$old"])
    message(room, "$new", prev=["$old"])
    assert list(leading_to([EventID("$new")], room.events)) == ["$new", "$old", "$older"]
    without_old = {event_id: event for event_id, event in room.events.items() if event_id != "$old"}
    assert list(leading_to([EventID("$new")], without_old)) == ["$new"]


class TestExtremities:
    def test_an_event_takes_the_place_of_what_it_follows(self) -> None:
        room = Drawing("11")
        message(room, "$a")
        event = message(room, "$b", prev=["$a"])
        assert extremities_after([EventID("$a"), EventID("$fork")], event) == ("$b", "$fork")

    def test_an_event_on_an_older_one_opens_a_fork(self) -> None:
        room = Drawing("11")
        message(room, "$old")
        event = message(room, "$b", prev=["$old"])
        assert extremities_after([EventID("$tip")], event) == ("$b", "$tip")

    def test_what_lies_behind_refused_events_is_followed_as_well(self) -> None:
        room = Drawing("11")
        for name, prev in (("$a", []), ("$soft_failed", ["$a"]), ("$rejected", ["$soft_failed"])):
            message(room, name, prev=prev)
        event = message(room, "$b", prev=["$rejected"])
        refused = {EventID("$rejected"): [EventID("$soft_failed")], EventID("$soft_failed"): [EventID("$a")]}
        assert extremities_after([EventID("$a")], event, refused) == ("$b",)
        assert extremities_after([EventID("$a")], event) == ("$b", "$a")
