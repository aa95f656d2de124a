"""The two orders of state resolution and the sets they are applied to, looked at directly."""

from __future__ import annotations

import pytest

from minihs.events.ids import EventID
from minihs.rooms.resolution.conflicts import AuthGraph, auth_difference, full_conflicted_set, split
from minihs.rooms.resolution.ordering import Mainline, mainline_ordering, reverse_topological_power_ordering
from minihs.rooms.state_map import StateMap

from .drawing import ALICE, BOB, CAROL, POWER, TOPIC, Drawing, join, join_rule, power, topic

both_versions = pytest.mark.parametrize("version", ["11", "12"])


def ids(*names: str) -> set[EventID]:
    return {EventID(name) for name in names}


def power_order(room: Drawing, *names: str) -> list[EventID]:
    return reverse_topological_power_ordering(ids(*names), AuthGraph(room.events))


class TestPowerOrdering:
    def test_what_is_cited_comes_first_even_if_it_is_later_and_of_less_power(self) -> None:
        room = Drawing("12")
        base = room.begin(power({BOB: 50})).then("$bob", BOB, *join(BOB))
        base.then("$by_bob", BOB, *power({BOB: 50, CAROL: 1}), at=9_000).then(
            "$by_alice", ALICE, *join_rule("invite"), at=1
        )
        assert power_order(room, "$by_alice", "$by_bob") == ["$by_bob", "$by_alice"]

    def test_events_outside_the_set_bind_nothing(self) -> None:
        """`$closed` rests on `$bob` through `$levels`, which all agree on: Alice's greater power decides."""
        room = Drawing("11")
        base = room.begin(power({ALICE: 100, BOB: 50})).then("$bob", BOB, *join(BOB), at=1)
        base.then("$levels", BOB, *power({ALICE: 100, BOB: 50, CAROL: 1})).then(
            "$closed", ALICE, *join_rule("invite"), at=9_000
        )
        assert room.events[EventID("$closed")].auth_events == ("$create", "$alice", "$levels")
        assert power_order(room, "$closed", "$bob") == ["$closed", "$bob"]
        assert power_order(room, "$closed", "$bob", "$levels") == ["$bob", "$levels", "$closed"]

    def test_power_is_that_which_the_events_own_auth_events_give(self) -> None:
        room = Drawing("11")
        base = room.begin(power({ALICE: 100, BOB: 50})).then("$bob", BOB, *join(BOB))
        raised = base.then("$raised", ALICE, *power({ALICE: 100, BOB: 100}))
        raised.then("$bob_raised", BOB, *join_rule("knock"), at=20)
        base.then("$alice_rules", ALICE, *join_rule("invite"), at=30)
        base.then("$bob_rules", BOB, *join_rule("knock"), at=10)
        assert power_order(room, "$bob_rules", "$alice_rules", "$bob_raised") == [
            "$bob_raised",
            "$alice_rules",
            "$bob_rules",
        ]

    @pytest.mark.parametrize(("version", "first"), [("11", "$by_bob"), ("12", "$by_alice")])
    def test_before_power_levels_the_creator_has_100_and_since_version_12_infinite_power(
        self, version: str, first: str
    ) -> None:
        room = Drawing(version)
        base = room.begin(power({BOB: 100} if version == "12" else {ALICE: 100, BOB: 100}))
        base = base.then("$bob", BOB, *join(BOB))
        base.then("$by_alice", ALICE, *join_rule("invite"), at=9_000)
        base.then("$by_bob", BOB, *join_rule("invite"), at=8_000)
        assert power_order(room, "$by_alice", "$by_bob")[0] == first


class TestMainline:
    def three_levels(self) -> Drawing:
        room = Drawing("11")
        base = room.begin()
        for name in ("$power2", "$power3"):
            base.then(f"$on_{base.state[POWER][1:]}", ALICE, *topic(name), at=50)
            base = base.then(name, ALICE, *power({ALICE: 100}))
        base.then("$on_power3", ALICE, *topic("x"), at=50)
        return room

    def test_positions_count_back_from_the_present_levels(self) -> None:
        room = self.three_levels()
        mainline = Mainline(EventID("$power3"), AuthGraph(room.events))
        positions = {
            name: mainline.position(room.events[EventID(name)])
            for name in ("$on_power3", "$on_power2", "$on_power", "$power3", "$power", "$create")
        }
        assert positions == {
            "$on_power3": 0,
            "$on_power2": 1,
            "$on_power": 2,
            "$power3": 1,
            "$power": float("inf"),
            "$create": float("inf"),
        }

    def test_levels_newer_than_the_present_ones_lead_back_to_them(self) -> None:
        room = self.three_levels()
        mainline = Mainline(EventID("$power2"), AuthGraph(room.events))
        for _ in range(2):  # the second time from memory
            assert mainline.position(room.events[EventID("$on_power3")]) == 0

    def test_the_order_goes_from_far_back_to_near_then_by_age_then_by_id(self) -> None:
        room = self.three_levels()
        names = ids("$on_power3", "$on_power2", "$on_power", "$alice")
        graph = AuthGraph(room.events)
        assert mainline_ordering(names, EventID("$power3"), graph) == [
            "$alice",
            "$on_power",
            "$on_power2",
            "$on_power3",
        ]
        assert mainline_ordering(names, None, graph) == ["$alice", "$on_power", "$on_power2", "$on_power3"]


class TestConflicts:
    def test_what_power_events_rest_on_joins_them_up_to_the_first_event_that_all_agree_on(self) -> None:
        room = Drawing("11")
        base = room.begin(power({ALICE: 100, BOB: 50})).then("$bob", BOB, *join(BOB))
        base.then("$levels", BOB, *power({ALICE: 100, BOB: 50, CAROL: 1})).then(
            "$closed", ALICE, *join_rule("invite")
        )
        graph = AuthGraph(room.events)
        assert graph.conflicted_chain_of(ids("$closed"), ids("$closed", "$levels", "$bob")) == ids(
            "$levels", "$bob"
        )
        assert graph.conflicted_chain_of(ids("$closed"), ids("$closed", "$bob")) == set()

    def test_a_key_that_one_state_lacks_is_conflicted(self) -> None:
        agreed, conflicted = split(
            [StateMap.of({TOPIC: EventID("$t"), POWER: EventID("$p")}), StateMap.of({POWER: EventID("$p")})]
        )
        assert agreed == {POWER: "$p"}
        assert conflicted == [{"$t"}, set()]

    def test_what_one_side_passed_through_is_in_the_auth_difference(self) -> None:
        room = Drawing("11")
        base = room.begin()
        left = base.then("$power2", ALICE, *power({ALICE: 100})).then("$power3", ALICE, *power({ALICE: 100}))
        agreed, conflicted = split([left.state, base.state])
        graph = AuthGraph(room.events)
        assert auth_difference(agreed, conflicted, graph) == ids("$power2", "$power3")
        assert auth_difference(agreed, conflicted, graph, known=ids("$power3")) == ids("$power2")

    def test_what_an_agreed_event_rests_on_is_not_in_the_auth_difference(self) -> None:
        room = Drawing("11")
        base = room.begin()
        left = base.then("$power2", ALICE, *power({ALICE: 100})).then("$power3", ALICE, *power({ALICE: 100}))
        name = base.then("$unused", ALICE, *topic("x")).then(
            "$name", ALICE, "m.room.name", "", {}, auth=["$create", "$alice", "$power2"]
        )
        key = ("m.room.name", "")
        sides = [state.set(key, name.state[key]) for state in (left.state, base.state)]
        agreed, conflicted = split(sides)
        assert auth_difference(agreed, conflicted, AuthGraph(room.events)) == ids("$power3")

    def test_agreed_state_that_only_one_sides_events_cite_is_not_in_the_auth_difference(self) -> None:
        room = Drawing("11")
        base = room.begin()
        state = base.state.update(removed=[("m.room.join_rules", "")])
        topical = base.then("$topic", ALICE, *topic("x"))
        agreed, conflicted = split([state, state.set(TOPIC, topical.state[TOPIC])])
        assert auth_difference(agreed, conflicted, AuthGraph(room.events)) == ids("$topic")

    @pytest.mark.parametrize(("version", "between"), [("11", set()), ("12", {"$power2"})])
    def test_the_paths_between_conflicting_events_belong_to_the_conflict_from_version_12_on(
        self, version: str, between: set[str]
    ) -> None:
        room = Drawing(version)
        base = room.begin()
        levels = dict(room.events[EventID("$power")].content["users"])
        second = base.then("$power2", ALICE, *power(levels)).then("$name", ALICE, "m.room.name", "", {})
        third = second.then("$power3", ALICE, *power(levels))
        stale = second.state.set(POWER, EventID("$power"))
        agreed, conflicted = split([third.state, stale])
        full = full_conflicted_set(agreed, conflicted, AuthGraph(room.events), room.version)
        assert full == {"$power", "$power3", *between}
