"""State resolution on random rooms: as the literal reading has it, in any order, and repeatable."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from minihs.events.ids import EventID
from minihs.rooms.resolution import resolve
from minihs.rooms.state_map import StateMap

from .drawing import ALICE, BOB, CAROL, DAVE, Body, Branch, Drawing, join_rule, member, power, topic
from .reference_resolution import Reference

PEOPLE = (ALICE, BOB, CAROL, DAVE)


def bodies(room: Drawing) -> st.SearchStrategy[Body]:
    """State events of all the kinds that resolution tells apart, allowed or not."""
    own = {} if room.version.privileged_creators else {ALICE: 100}
    levels = st.dictionaries(st.sampled_from(PEOPLE[1:]), st.sampled_from([0, 50, 100]))
    return st.one_of(
        st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["join", "leave", "ban", "invite"])).map(
            lambda drawn: member(*drawn)
        ),
        st.sampled_from(["public", "invite"]).map(join_rule),
        levels.map(lambda users: power(own | users)),
        st.just(topic("x")),
    )


@st.composite
def rooms(draw: st.DrawFn) -> tuple[Drawing, list[Branch]]:
    """A room that forked, merged and forked again, and some of its branches."""
    room = Drawing(draw(st.sampled_from(["3", "6", "9", "10", "11", "12"])))
    branches = [room.begin()]
    for number in range(draw(st.integers(2, 14))):
        parents = draw(st.lists(st.sampled_from(branches), min_size=1, max_size=2))
        state = resolve([parent.state for parent in parents], room.events, room.version)
        tips = tuple(tip for parent in parents for tip in parent.tip)
        sender = draw(st.sampled_from(PEOPLE))
        event_type, state_key, content = draw(bodies(room))
        if event_type == "m.room.member" and content["membership"] == "join":
            sender = EventID(state_key)  # otherwise hardly anyone would ever join
        name = f"${draw(st.sampled_from('abc'))}{number}"
        timestamp = draw(st.integers(1, 6))
        branches.append(
            Branch(room, state, tips).then(name, sender, event_type, state_key, content, at=timestamp)
        )
    chosen = draw(st.lists(st.sampled_from(branches), min_size=2, max_size=4))
    return room, chosen


@settings(max_examples=150, deadline=None)
@given(rooms())
def test_the_answer_is_that_of_the_literal_reading(drawn: tuple[Drawing, list[Branch]]) -> None:
    room, branches = drawn
    states = [branch.state for branch in branches]
    resolved = resolve(states, room.events, room.version)
    assert dict(resolved) == Reference(room.events, room.version).resolve(states)


@settings(max_examples=60, deadline=None)
@given(rooms(), st.data())
def test_neither_order_nor_repetition_changes_the_answer(
    drawn: tuple[Drawing, list[Branch]], data: st.DataObject
) -> None:
    room, branches = drawn
    states = [branch.state for branch in branches]
    resolved = resolve(states, room.events, room.version)
    shuffled = data.draw(st.permutations([*states, states[0]]))
    events = dict(data.draw(st.permutations(list(room.events.items()))))
    assert resolve(shuffled, events, room.version) == resolved
    assert resolve([resolved, resolved], room.events, room.version) == resolved


@settings(max_examples=60, deadline=None)
@given(rooms())
def test_keys_that_all_agree_on_keep_their_event(drawn: tuple[Drawing, list[Branch]]) -> None:
    room, branches = drawn
    resolved = resolve([branch.state for branch in branches], room.events, room.version)
    first: StateMap = branches[0].state
    for key in first:
        if all(branch.state.get(key) == first[key] for branch in branches):
            assert resolved[key] == first[key]
