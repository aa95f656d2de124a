"""State maps: immutable, sorted when walked, and exact about what changed."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from minihs.rooms.state_map import StateChange, StateMap

TOPIC = ("m.room.topic", "")
NAME = ("m.room.name", "")
ALICE = ("m.room.member", "@alice:a.test")

keys = st.tuples(st.sampled_from(["m.room.member", "m.room.topic", "x"]), st.text("ab", max_size=2))
states = st.dictionaries(keys, st.sampled_from(["$1", "$2", "$3"]))


def test_setting_a_key_leaves_the_original_alone() -> None:
    empty = StateMap()
    one = empty.set(TOPIC, "$t")
    assert one[TOPIC] == "$t"
    assert TOPIC in one
    assert len(one) == 1
    assert TOPIC not in empty
    assert empty.get(TOPIC) is None
    assert empty.get(TOPIC, default="$none") == "$none"


def test_walking_a_state_goes_in_order_of_the_keys() -> None:
    state = StateMap.of({TOPIC: "$t", ALICE: "$a", NAME: "$n"})
    assert list(state) == [ALICE, NAME, TOPIC]
    assert list(state.items()) == [(ALICE, "$a"), (NAME, "$n"), (TOPIC, "$t")]
    assert list(state.values()) == ["$a", "$n", "$t"]
    assert repr(state) == f"StateMap({ {ALICE: '$a', NAME: '$n', TOPIC: '$t'}!r})"


def test_the_order_is_the_same_in_processes_that_hash_differently() -> None:
    program = (
        "from minihs.rooms.state_map import StateMap\n"
        "state = StateMap.of([(('t', str(n)), f'${n}') for n in range(50)])\n"
        "print(list(state.items()), state.difference(StateMap()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_state_made_of_a_state_is_that_state() -> None:
    state = StateMap.of({TOPIC: "$t"})
    assert StateMap.of(state) is state


def test_update_removes_first_and_sets_then() -> None:
    state = StateMap.of({TOPIC: "$t", NAME: "$n"})
    changed = state.update([(NAME, "$n2"), (ALICE, "$a")], removed=[TOPIC, NAME, ("never", "there")])
    assert changed == {NAME: "$n2", ALICE: "$a"}
    assert state == {TOPIC: "$t", NAME: "$n"}


def test_equal_states_are_equal_and_hash_alike_however_they_were_made() -> None:
    one = StateMap().set(TOPIC, "$t").set(NAME, "$n")
    other = StateMap().set(NAME, "$n").set(ALICE, "$a").set(TOPIC, "$t").update(removed=[ALICE])
    assert one == other
    assert hash(one) == hash(other)
    assert one != other.set(TOPIC, "$else")
    assert one != {TOPIC: "$t"}
    assert one != "a string"


def test_a_difference_names_what_was_added_replaced_and_removed_in_order() -> None:
    before = StateMap.of({TOPIC: "$t", NAME: "$n"})
    after = StateMap.of({NAME: "$n2", ALICE: "$a"})
    assert before.difference(after) == (
        StateChange(ALICE, None, "$a"),
        StateChange(NAME, "$n", "$n2"),
        StateChange(TOPIC, "$t", None),
    )
    assert before.difference(before) == ()


@given(states, states)
def test_applying_a_difference_gives_the_other_state(before: dict, after: dict) -> None:
    changes = StateMap.of(before).difference(StateMap.of(after))
    assert all(change.old != change.new for change in changes)
    patched = StateMap.of(before).update(
        [(change.key, change.new) for change in changes if change.new is not None],
        removed=[change.key for change in changes if change.new is None],
    )
    assert patched == after == dict(patched.unsorted_items())
    assert StateMap.of(before).difference(patched) == changes
