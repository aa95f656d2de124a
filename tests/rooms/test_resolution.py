"""State resolution on drawn graphs with named people; what both versions agree on runs in rooms 11 and 12."""

from __future__ import annotations

import pytest

from minihs.events.ids import EventID
from minihs.rooms.dag import AuthChainWalk, MissingEvents
from minihs.rooms.resolution import resolve
from minihs.rooms.state_map import StateMap

from .drawing import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    MALLORY,
    POWER,
    RULES,
    TOPIC,
    Branch,
    Drawing,
    ban,
    join,
    join_rule,
    member,
    member_key,
    power,
    topic,
)

V2 = "11"
V2_1 = "12"
both_versions = pytest.mark.parametrize("version", [V2, V2_1])


def room_of(version: str, **levels: int) -> tuple[Drawing, Branch]:
    """Alice's room, with everybody named in `levels` joined and at that power."""
    room = Drawing(version)
    own = {} if room.version.privileged_creators else {ALICE: 100}
    users = own | {f"@{name}:hs1": level for name, level in levels.items()}
    base = room.begin(power(users))
    for name in levels:
        base = base.then(f"${name}", f"@{name}:hs1", *join(f"@{name}:hs1"))
    return room, base


def test_no_state_resolves_to_no_state() -> None:
    assert resolve([], {}, Drawing(V2).version) == {}


@both_versions
def test_one_state_and_equal_states_resolve_to_themselves_without_looking_at_events(version: str) -> None:
    room, base = room_of(version)
    assert resolve([base.state], {}, room.version) == base.state
    assert resolve([base.state, dict(base.state)], {}, room.version) == base.state


@both_versions
def test_what_only_one_side_adds_is_added(version: str) -> None:
    room, base = room_of(version)
    assert room.resolve(base, base.then("$topic", ALICE, *topic("x"))) == base.state.set(TOPIC, "$topic")


@both_versions
class TestPowerFirst:
    def test_a_ban_undoes_what_the_banned_did_on_the_other_side(self, version: str) -> None:
        room, base = room_of(version, mallory=50)
        banned = base.then("$ban", ALICE, *ban(MALLORY), at=2_000)
        evading = base.then("$topic", MALLORY, *topic("mine"), at=1_000)
        resolved = room.resolve(banned, evading)
        assert resolved[member_key(MALLORY)] == "$ban"
        assert TOPIC not in resolved

    def test_a_kick_counts_like_a_ban_but_leaving_does_not(self, version: str) -> None:
        room, base = room_of(version, bob=50)
        talking = base.then("$topic", BOB, *topic("still here"), at=2_000)
        kicked = base.then("$kick", ALICE, *member(BOB, "leave"), at=1_000)
        left = base.then("$left", BOB, *member(BOB, "leave"), at=3_000)
        assert TOPIC not in room.resolve(kicked, talking)
        assert room.resolve(left, talking) == left.state.set(TOPIC, "$topic")

    def test_losing_power_undoes_a_ban_on_the_other_side(self, version: str) -> None:
        room, base = room_of(version, bob=50, carol=0)
        levels = dict(room.events[EventID("$power")].content["users"])
        demoted = base.then("$demoted", ALICE, *power({**levels, BOB: 0}), at=2_000)
        banning = base.then("$ban", BOB, *ban(CAROL), at=1_000)
        resolved = room.resolve(demoted, banning)
        assert resolved[POWER] == "$demoted"
        assert resolved[member_key(CAROL)] == "$carol"

    def test_keeping_power_lets_the_ban_stand(self, version: str) -> None:
        room, base = room_of(version, bob=50, carol=0)
        levels = dict(room.events[EventID("$power")].content["users"])
        changed = base.then("$changed", ALICE, *power({**levels, BOB: 49 + 1, DAVE: 1}), at=2_000)
        banning = base.then("$ban", BOB, *ban(CAROL), at=1_000)
        resolved = room.resolve(changed, banning)
        assert resolved[POWER] == "$changed"
        assert resolved[member_key(CAROL)] == "$ban"

    def test_closing_the_room_undoes_a_join_on_the_other_side(self, version: str) -> None:
        room, base = room_of(version)
        closed = base.then("$closed", ALICE, *join_rule("invite"), at=2_000)
        joining = base.then("$dave", DAVE, *join(DAVE), at=1_000)
        resolved = room.resolve(closed, joining)
        assert resolved[RULES] == "$closed"
        assert member_key(DAVE) not in resolved


class TestTies:
    """Two admins of the same power take it from each other: the earlier, then the smaller id, prevails."""

    @pytest.mark.parametrize(
        ("bob_at", "carol_at", "prevails"),
        [(1_000, 2_000, "$a_by_bob"), (2_000, 1_000, "$b_by_carol"), (1_000, 1_000, "$a_by_bob")],
    )
    @both_versions
    def test_equal_power_goes_by_time_then_by_id(
        self, version: str, bob_at: int, carol_at: int, prevails: str
    ) -> None:
        room, base = room_of(version, bob=90, carol=90)
        by_bob = base.then("$a_by_bob", BOB, *ban(CAROL), at=bob_at)
        by_carol = base.then("$b_by_carol", CAROL, *ban(BOB), at=carol_at)
        resolved = room.resolve(by_bob, by_carol)
        # Neither could ban an equal; both bans are refused and both people stay.
        assert resolved == base.state
        rules = base.then("$a_rules", BOB, *join_rule("invite"), at=bob_at)
        other = base.then("$b_rules", CAROL, *join_rule("knock"), at=carol_at)
        # Both are allowed, so the one judged last stands.
        last = {"$a_by_bob": "$b_rules", "$b_by_carol": "$a_rules"}[prevails]
        assert room.resolve(rules, other)[RULES] == last

    @both_versions
    def test_greater_power_is_judged_first_whatever_the_time(self, version: str) -> None:
        room, base = room_of(version, bob=50)
        by_alice = base.then("$by_alice", ALICE, *join_rule("invite"), at=9_000)
        by_bob = base.then("$by_bob", BOB, *join_rule("knock"), at=1_000)
        assert room.resolve(by_alice, by_bob)[RULES] == "$by_bob"

    def test_a_creator_has_more_power_than_any_level_from_version_12_on(self) -> None:
        room, base = room_of(V2_1, bob=2**53 - 1)
        by_alice = base.then("$by_alice", ALICE, *join_rule("invite"), at=9_000)
        by_bob = base.then("$by_bob", BOB, *join_rule("knock"), at=1_000)
        assert room.resolve(by_alice, by_bob)[RULES] == "$by_bob"


@both_versions
class TestMainline:
    @pytest.mark.parametrize(("left_at", "right_at", "winner"), [(1, 2, "$b"), (2, 1, "$a"), (1, 1, "$b")])
    def test_in_a_race_of_topics_on_the_same_levels_the_later_wins_then_the_greater_id(
        self, version: str, left_at: int, right_at: int, winner: str
    ) -> None:
        room, base = room_of(version, bob=50)
        left = base.then("$a", ALICE, *topic("left"), at=1_000 + left_at)
        right = base.then("$b", BOB, *topic("right"), at=1_000 + right_at)
        assert room.resolve(left, right)[TOPIC] == winner

    def test_an_event_on_newer_power_levels_wins_against_a_later_one_on_older_levels(
        self, version: str
    ) -> None:
        room, base = room_of(version, bob=50)
        levels = dict(room.events[EventID("$power")].content["users"])
        newer = base.then("$power2", ALICE, *power({**levels, CAROL: 1}))
        on_newer = newer.then("$early", BOB, *topic("newer"), at=1)
        on_older = base.then("$late", BOB, *topic("older"), at=9_000)
        assert room.resolve(on_newer, on_older)[TOPIC] == "$early"

    def test_an_event_with_no_ancestor_on_the_mainline_is_judged_before_all_others(
        self, version: str
    ) -> None:
        room = Drawing(version)
        bare = (
            Branch(room)
            .then("$create", ALICE, "m.room.create", "", {"room_version": version, "creator": ALICE})
            .then("$alice", ALICE, *join(ALICE))
        )
        without = bare.then("$no_levels", ALICE, *topic("first days"), at=9_000)
        own = {} if room.version.privileged_creators else {ALICE: 100}
        with_levels = bare.then("$power", ALICE, *power(own)).then("$levels", ALICE, *topic("later"), at=1)
        assert room.resolve(without, with_levels)[TOPIC] == "$levels"

    def test_without_power_levels_there_is_no_mainline_and_time_decides(self, version: str) -> None:
        room = Drawing(version)
        bare = (
            Branch(room)
            .then("$create", ALICE, "m.room.create", "", {"room_version": version, "creator": ALICE})
            .then("$alice", ALICE, *join(ALICE))
        )
        early = bare.then("$z_early", ALICE, *topic("a"), at=1)
        late = bare.then("$a_late", ALICE, *topic("b"), at=2)
        assert room.resolve(early, late)[TOPIC] == "$a_late"

    def test_a_side_line_of_power_levels_counts_from_where_it_leaves_the_mainline(self, version: str) -> None:
        room, base = room_of(version, bob=50, carol=50)
        levels = dict(room.events[EventID("$power")].content["users"])
        side = base.then("$side", BOB, *power({**levels, DAVE: 1}), at=9_000)
        main = base.then("$main", ALICE, *power({**levels, BOB: 0}), at=1)
        # Bob's levels are refused, so a topic on them counts as resting on $power, before those on $main.
        on_side = side.then("$side_topic", CAROL, *topic("side"), at=9_500)
        on_main = main.then("$main_topic", CAROL, *topic("main"), at=2)
        resolved = room.resolve(on_side, on_main)
        assert resolved[POWER] == "$main"
        assert resolved[TOPIC] == "$main_topic"


class TestStateResets:
    """What version 2.1 was made for: state that is lost or goes back although nobody took it away."""

    def left_behind(self, version: str) -> tuple[Drawing, Branch, Branch]:
        room, base = room_of(version, bob=50)
        lacking = base.then("$left", BOB, *member(BOB, "leave"), at=3_000)
        topical = base.then("$topic", BOB, *topic("by bob"), at=1_000)
        return room, lacking, Branch(room, lacking.state.set(TOPIC, topical.state[TOPIC]))

    def test_in_v2_a_topic_vanishes_because_its_sender_has_left_since(self) -> None:
        room, lacking, having = self.left_behind(V2)
        assert TOPIC not in room.resolve(lacking, having)

    def test_in_v2_1_the_topic_of_someone_who_has_left_since_stays(self) -> None:
        room, lacking, having = self.left_behind(V2_1)
        assert room.resolve(lacking, having) == having.state

    def stale_levels(self, version: str) -> tuple[Drawing, Branch, StateMap]:
        """One side is back at the first power levels, though both hold an event on later ones."""
        room, base = room_of(version, bob=0)
        levels = dict(room.events[EventID("$power")].content["users"])
        second = base.then("$power2", ALICE, *power({**levels, BOB: 60})).then(
            "$name", ALICE, "m.room.name", "", {"name": "x"}
        )
        third = second.then("$power3", BOB, *power({**levels, BOB: 60, CAROL: 10}))
        return room, third, second.state.set(POWER, EventID("$power"))

    def test_in_v2_power_levels_go_back_when_the_step_between_is_agreed(self) -> None:
        room, current, stale = self.stale_levels(V2)
        assert room.resolve(current, stale)[POWER] == "$power"

    def test_in_v2_1_the_conflicted_state_subgraph_brings_the_step_between(self) -> None:
        room, current, stale = self.stale_levels(V2_1)
        assert room.resolve(current, stale) == current.state


class TestRejectedEvents:
    def one_sided_topic(self) -> tuple[Drawing, Branch, Branch]:
        room, base = room_of(V2_1, bob=50)
        return room, base, base.then("$topic", BOB, *topic("x"))

    def test_an_auth_event_stands_in_for_state_that_is_not_there_yet(self) -> None:
        room, lacking, having = self.one_sided_topic()
        assert room.resolve(lacking, having)[TOPIC] == "$topic"

    def test_a_rejected_auth_event_does_not_stand_in(self) -> None:
        room, lacking, having = self.one_sided_topic()
        room.rejected.add(EventID("$bob"))
        assert TOPIC not in room.resolve(lacking, having)

    def test_a_rejected_event_of_the_conflict_itself_is_judged_anew(self) -> None:
        room, lacking, having = self.one_sided_topic()
        room.rejected.add(EventID("$topic"))
        assert room.resolve(lacking, having)[TOPIC] == "$topic"


class TestAgreement:
    @both_versions
    def test_agreed_state_stands_although_older_events_of_its_key_are_judged_again(
        self, version: str
    ) -> None:
        room, base = room_of(version, bob=50, carol=50)
        renamed = base.then("$bob2", BOB, *join(BOB, displayname="Robert"))
        left = renamed.then("$topic", BOB, *topic("x"))
        right = renamed.then("$ban", ALICE, *ban(CAROL))
        resolved = room.resolve(left, right)
        assert resolved == right.state.set(TOPIC, "$topic")

    @both_versions
    def test_steps_that_one_side_took_on_its_way_are_part_of_the_conflict(self, version: str) -> None:
        room, base = room_of(version, bob=0)
        levels = dict(room.events[EventID("$power")].content["users"])
        raised = base.then("$raised", ALICE, *power({**levels, BOB: 60}))
        bobs = raised.then("$by_bob", BOB, *power({**levels, BOB: 60, CAROL: 5}))
        assert room.resolve(base, bobs)[POWER] == "$by_bob", "judged without $raised, Bob's event would fail"


class TestLoading:
    def load_and_retry(self, room: Drawing, *branches: Branch) -> tuple[StateMap, int]:
        loaded = {}
        rounds = 0
        while True:
            try:
                return resolve([branch.state for branch in branches], loaded, room.version), rounds
            except MissingEvents as missing:
                rounds += 1
                walk = AuthChainWalk(missing.ids)
                while walk.wanted():
                    walk.feed(room.events)
                assert not walk.absent
                assert not walk.chain.keys() <= loaded.keys()
                loaded |= walk.chain

    @both_versions
    def test_asking_again_with_what_was_missing_leads_to_the_same_answer(self, version: str) -> None:
        room, base = room_of(version, bob=50, carol=0)
        levels = dict(room.events[EventID("$power")].content["users"])
        left = base.then("$demoted", ALICE, *power({**levels, BOB: 0})).then("$topic", ALICE, *topic("x"))
        right = base.then("$ban", BOB, *ban(CAROL)).then("$dave", DAVE, *join(DAVE))
        answer, rounds = self.load_and_retry(room, left, right)
        assert answer == room.resolve(left, right)
        assert rounds <= 3

    @both_versions
    def test_the_events_of_agreed_state_are_not_asked_for_where_they_decide_nothing(
        self, version: str
    ) -> None:
        room, base = room_of(version)
        for number in range(30):
            user = f"@member{number}:hs1"
            base = base.then(f"$member{number}", user, *join(user))
        left = base.then("$a", ALICE, *topic("left"))
        right = base.then("$b", ALICE, *topic("right"))
        wanted = {"$create", "$alice", "$power", "$a", "$b"}
        events = {event_id: event for event_id, event in room.events.items() if event_id in wanted}
        assert resolve([left.state, right.state], events, room.version)[TOPIC] == "$b"

    def test_the_first_question_names_all_conflicting_events_sorted(self) -> None:
        room, base = room_of(V2)
        left, right = base.then("$z", ALICE, *topic("left")), base.then("$a", ALICE, *topic("right"))
        with pytest.raises(MissingEvents) as caught:
            resolve([left.state, right.state], {}, room.version)
        assert caught.value.ids == ("$a", "$z")
