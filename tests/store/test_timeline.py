"""Reads of time lines and of a few keys of many states, against plain computations."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from minihs.events.event import StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.rooms.state_map import StateMap
from minihs.store.database import open_database
from minihs.store.state import StateGroup, StateStore
from minihs.store.timeline import TimelineStore
from minihs.store.writer import Batch, Writer
from tests.support.deferreds import run
from tests.support.room_service import RoomServer

KEYS: list[StateKey] = [("a", ""), ("a", "x"), ("b", "")]
CHANGES = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=3, unique_by=lambda c: c[0]),
    min_size=1,
    max_size=8,
)
ALICE = "@alice:hs1"


@settings(max_examples=40, deadline=None)
@given(CHANGES, st.sets(st.sampled_from(KEYS), min_size=1))
def test_keys_of_states_are_found_along_their_chains(
    steps: list[list[tuple[StateKey, bool]]], wanted: set[StateKey]
) -> None:
    database = open_database()
    clock = VirtualClock()
    writer = Writer(database.writing, clock=clock, workers=InlineWorkers(), on_fatal=lambda _: None)
    states = StateStore(database.reader, highest=0)
    batch = Batch()
    group = states.add_snapshot(batch, StateMap())
    groups: list[StateGroup] = [group]
    for number, step in enumerate(steps):
        changes = [(key, EventID(f"${number}") if is_set else None) for key, is_set in step]
        state = group.state.update(
            [(key, value) for key, value in changes if value is not None],
            removed=[key for key, value in changes if value is None],
        )
        group = states.add_delta(batch, group, changes, state)
        groups.append(group)

    async def store() -> None:
        await writer.submit(batch)

    run(clock, store())
    found = run(
        clock,
        TimelineStore(database.reader).state_entries([one.number for one in groups], sorted(wanted)),
    )
    assert found == {
        one.number: {key: one.state[key] for key in wanted if key in one.state} for one in groups
    }
    database.close()


def test_a_state_that_nobody_asks_for_costs_no_statement() -> None:
    server = RoomServer()
    store = TimelineStore(server.database.reader)
    assert server.run(store.state_entries([], KEYS)) == {}


def test_the_newest_and_the_oldest_events_are_found_within_bounds() -> None:
    server = RoomServer()
    room = server.create()
    ids = [server.send(room, ALICE).event_id for _ in range(4)]
    store = TimelineStore(server.database.reader)
    first = server.run(store.all_of(ids))[ids[0]].position
    newest = server.run(store.all_newest(room, after=first, upto=first + 3, limit=2))
    assert [row.event_id for row in newest] == [ids[3], ids[2]]
    oldest = server.run(store.all_oldest(room, after=first, upto=first + 2, limit=5))
    assert [row.event_id for row in oldest] == [ids[1], ids[2]]


def test_a_state_event_knows_what_it_replaced() -> None:
    server = RoomServer()
    room = server.create()
    topics = [
        server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": f"{number}"}).event_id
        for number in range(2)
    ]
    rows = server.run(TimelineStore(server.database.reader).all_of([*topics, "$unknown"]))
    assert {event_id: row.replaces for event_id, row in rows.items()} == {
        topics[0]: None,
        topics[1]: topics[0],
    }


def test_only_rooms_with_news_are_active() -> None:
    server = RoomServer()
    quiet, busy = server.create(), server.create()
    position = server.service.stream.current
    server.send(busy, ALICE)
    store = TimelineStore(server.database.reader)
    now = server.service.stream.current
    assert server.run(store.all_active_rooms([quiet, busy], after=position, upto=now)) == [busy]
    assert server.run(store.all_active_rooms([quiet, busy], after=now, upto=now + 9)) == []


def test_heroes_come_in_order_of_arrival() -> None:
    server = RoomServer()
    room = server.create()
    for user in ("@zoe:hs1", "@bob:hs1"):
        server.send(room, user, "m.room.member", state_key=user, content={"membership": "join"})
    store = TimelineStore(server.database.reader)
    heroes = server.run(store.all_heroes(room, UserID(ALICE), ("join", "invite"), 5))
    assert heroes == ["@zoe:hs1", "@bob:hs1"]
    assert server.run(store.member_counts(room)) == {"join": 3}


def test_an_unknown_room_has_nothing() -> None:
    server = RoomServer()
    store = TimelineStore(server.database.reader)
    nowhere = RoomID("!nowhere:hs1")
    assert server.run(store.all_newest(nowhere, after=0, upto=9, limit=9)) == []
    assert server.run(store.maybe_oldest_event(nowhere)) is None
    assert server.run(store.maybe_membership(UserID(ALICE), nowhere)) is None
