"""Filters: which events they let through."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.homeserver.history.event_filter import (
    EVERY_ROOM_EVENT,
    MAX_LIMIT,
    EventFilter,
    RoomEventFilter,
    field_paths,
    limit_of,
    parse_filter,
    predicate,
    room_predicate,
)
from tests.support.sync_service import SyncServer

ALICE = "@alice:hs1"


def passes(event_filter: EventFilter, type_: str = "m.x", sender: str = ALICE) -> bool:
    check = predicate(event_filter)
    return check is None or check(type_, sender)


@pytest.mark.parametrize(
    ("event_filter", "expected"),
    [
        (EventFilter(), True),
        (EventFilter(types=frozenset({"m.x"})), True),
        (EventFilter(types=frozenset({"m.y"})), False),
        (EventFilter(types=frozenset()), False),
        (EventFilter(types=frozenset({"m.*"})), True),
        (EventFilter(types=frozenset({"*"})), True),
        (EventFilter(not_types=frozenset({"m.x"})), False),
        (EventFilter(types=frozenset({"m.x"}), not_types=frozenset({"m.*"})), False),
        (EventFilter(senders=frozenset({ALICE})), True),
        (EventFilter(senders=frozenset({"@bob:hs1"})), False),
        (EventFilter(senders=frozenset()), False),
        (EventFilter(not_senders=frozenset({ALICE})), False),
        (EventFilter(senders=frozenset({ALICE}), not_senders=frozenset({ALICE})), False),
    ],
)
def test_types_and_senders(event_filter: EventFilter, expected: bool) -> None:
    assert passes(event_filter) is expected


@given(st.text("ab*.", max_size=8), st.text("ab.", max_size=10))
def test_stars_match_any_run_of_characters(pattern: str, text: str) -> None:
    matched = passes(EventFilter(types=frozenset({pattern})), text)
    assert matched is fnmatchcase(text, pattern)


def test_rooms_and_urls() -> None:
    server = SyncServer()
    room = server.create()
    plain = server.send(room, ALICE)
    picture = server.send(room, ALICE, content={"url": "mxc://hs1/x"})
    assert room_predicate(EVERY_ROOM_EVENT, room) is None
    for event_filter, expected in [
        (RoomEventFilter(contains_url=True), [False, True]),
        (RoomEventFilter(contains_url=False), [True, False]),
        (RoomEventFilter(rooms=frozenset({room}), types=frozenset({"m.*"})), [True, True]),
        (RoomEventFilter(rooms=frozenset()), [False, False]),
        (RoomEventFilter(not_rooms=frozenset({room})), [False, False]),
    ]:
        check = room_predicate(event_filter, room)
        assert check is not None
        assert [check(plain), check(picture)] == expected


def test_limits_have_a_default_and_a_bound() -> None:
    assert limit_of(EventFilter(), 7) == 7
    assert limit_of(EventFilter(limit=3), 7) == 3
    assert limit_of(EventFilter(limit=10**9), 7) == MAX_LIMIT


def test_keys_that_are_not_known_are_let_be() -> None:
    assert parse_filter('{"org.x": [1], "room": {"org.y": null}}').room.include_leave is False


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("content.body", ("content", "body")),
        ("content.m\\.relates_to", ("content", "m.relates_to")),
        ("content.m\\\\foo", ("content", "m\\foo")),
        ("content.\\x", ("content", "\\x")),
        ("type", ("type",)),
        ("a\\", ("a\\",)),
        ("a..b", ("a", "", "b")),
    ],
)
def test_property_paths_are_split_at_dots_that_are_not_escaped(field: str, path: tuple[str, ...]) -> None:
    assert field_paths([field]) == (path,)
