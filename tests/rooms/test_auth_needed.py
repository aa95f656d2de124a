"""The selection of auth events, and that it is enough to decide by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.ids import UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.auth import authorise, needed_state
from minihs.rooms.power import CREATE
from tests.support.auth_rules import ALICE, BOB, CAROL, DAVE, a_room

POWER = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")
SENDER = ("m.room.member", ALICE)
TARGET = ("m.room.member", BOB)
INVITE = {"signed": {"mxid": BOB, "token": "token"}}


def needed(
    version: str, event_type: str, state_key: str | None, content: dict[str, Any]
) -> set[tuple[str, str]]:
    selected = needed_state(event_type, UserID(ALICE), state_key, content, ROOM_VERSIONS[version])
    assert list(selected) == sorted(set(selected))
    return set(selected)


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ({"membership": "join"}, {JOIN_RULES}),
        ({"membership": "invite"}, {JOIN_RULES}),
        ({"membership": "knock"}, {JOIN_RULES}),
        ({"membership": "leave"}, set()),
        ({"membership": "ban"}, set()),
        ({"membership": ["join"]}, set()),
        ({}, set()),
        (
            {"membership": "invite", "third_party_invite": INVITE},
            {JOIN_RULES, ("m.room.third_party_invite", "token")},
        ),
        ({"membership": "leave", "third_party_invite": INVITE}, set()),
        ({"membership": "invite", "third_party_invite": {"signed": []}}, {JOIN_RULES}),
        (
            {"membership": "join", "join_authorised_via_users_server": CAROL},
            {JOIN_RULES, ("m.room.member", CAROL)},
        ),
        ({"membership": "leave", "join_authorised_via_users_server": CAROL}, set()),
        ({"membership": "join", "join_authorised_via_users_server": [CAROL]}, {JOIN_RULES}),
    ],
)
def test_a_membership_needs_what_its_rules_read(content: dict[str, Any], more: set[tuple[str, str]]) -> None:
    assert needed("12", "m.room.member", BOB, content) == {POWER, SENDER, TARGET} | more


def test_a_membership_that_is_no_state_needs_no_target() -> None:
    assert needed("12", "m.room.member", None, {"membership": "leave"}) == {POWER, SENDER}


def test_other_events_need_the_sender_and_the_power_levels() -> None:
    assert needed("12", "m.room.message", None, {}) == {POWER, SENDER}
    assert needed("12", "m.room.power_levels", "", {"membership": "join"}) == {POWER, SENDER}


def test_the_create_event_needs_nothing() -> None:
    assert needed("12", "m.room.create", "", {}) == set()


def test_the_create_event_is_needed_until_v11_and_implied_since_v12() -> None:
    for event_type in ("m.room.message", "m.room.member"):
        assert CREATE in needed("11", event_type, None, {})
        assert CREATE not in needed("12", event_type, None, {})


def test_who_authorised_a_join_is_needed_since_v8() -> None:
    content = {"membership": "join", "join_authorised_via_users_server": CAROL}
    assert ("m.room.member", CAROL) not in needed("7", "m.room.member", BOB, content)
    assert ("m.room.member", CAROL) in needed("8", "m.room.member", BOB, content)


users = st.sampled_from([ALICE, BOB, CAROL, DAVE])
contents = st.fixed_dictionaries(
    {},
    optional={
        "membership": st.sampled_from(["join", "invite", "leave", "ban", "knock", "x", None, 1]),
        "third_party_invite": st.sampled_from([None, {}, INVITE, {"signed": {"token": 1}}]),
        "join_authorised_via_users_server": users | st.none(),
        "users": st.dictionaries(users, st.integers(-1, 101), max_size=2),
    },
)


@given(
    st.sampled_from(sorted(ROOM_VERSIONS)),
    st.sampled_from(["public", "invite", "knock", "restricted", "knock_restricted"]),
    st.lists(st.tuples(users, st.sampled_from(["join", "invite", "leave", "ban", "knock"])), max_size=3),
    users,
    st.sampled_from(["m.room.member", "m.room.power_levels", "m.room.message", "m.room.third_party_invite"]),
    st.none() | users,
    contents,
)
def test_the_selected_state_decides_as_the_whole_state_does(
    version: str,
    join_rule: str,
    memberships: list[tuple[str, str]],
    sender: str,
    event_type: str,
    state_key: str | None,
    content: dict[str, Any],
) -> None:
    room = a_room(ROOM_VERSIONS[version], join_rule=join_rule)
    for user, membership in memberships:
        room.member(ALICE, user, membership)
    event = room.make(sender, event_type, content, state_key)
    selected = {
        *needed_state(event.type, event.sender, event.state_key, event.content, room.version),
        CREATE,
    }
    part = {key: value for key, value in room.state.items() if key in selected}
    assert authorise(event, part, room.version) == authorise(event, room.state, room.version)
