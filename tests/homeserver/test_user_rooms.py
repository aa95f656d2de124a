"""Memberships in memory: in step with events, also while they are being loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.sync.user_rooms import UserRooms
from minihs.store.timeline import MembershipRecord
from tests.support.deferreds import start

ALICE, BOB = UserID("@alice:hs1"), UserID("@bob:hs1")
ROOM, OTHER = RoomID("!room:hs1"), RoomID("!other:hs1")


class Store:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.rows: dict[UserID, list[MembershipRecord]] = {}
        self.asked: list[Callable[[], None]] = []
        self.waits = False

    async def all_memberships(self, user_id: UserID) -> list[MembershipRecord]:
        rows = list(self.rows.get(user_id, []))
        if self.waits:
            answer: Deferred[None] = Deferred()
            self.asked.append(lambda: answer.callback(None))
            await answer
        return rows


class Change:
    """As much of a member event as is read."""

    def __init__(self, user_id: UserID, membership: str, event_id: str = "$new") -> None:
        self.event_id = EventID(event_id)
        self.room_id, self.sender, self.membership = ROOM, user_id, membership
        self.changes = [(("m.room.member", user_id), None, self.event_id)]


def row(membership: str = "join", room_id: RoomID = ROOM, position: int = 1) -> MembershipRecord:
    return MembershipRecord(room_id, membership, EventID("$old"), ALICE, position, False, None)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def rooms(store: Store) -> UserRooms:
    return UserRooms(store, is_listening=lambda user_id: user_id == BOB, max_users=2)  # type: ignore[arg-type]


def load(rooms: UserRooms, user_id: UserID = ALICE, afresh: bool = False) -> Deferred[None]:
    return start(rooms.load(user_id, afresh=afresh))


def apply(rooms: UserRooms, change: Change, position: int = 5) -> list[UserID]:
    return rooms.apply(change, position, change.changes)  # type: ignore[arg-type]


def test_those_joined_are_watchers(store: Store, rooms: UserRooms) -> None:
    store.rows[ALICE] = [row(), row("leave", OTHER, 7)]
    load(rooms)
    assert list(rooms.watchers(ROOM)) == [ALICE]
    assert list(rooms.watchers(OTHER)) == []
    assert rooms.newest_change(ALICE) == 7


def test_a_change_is_followed(store: Store, rooms: UserRooms) -> None:
    load(rooms)
    assert apply(rooms, Change(ALICE, "join")) == [ALICE]
    assert rooms.of(ALICE)[ROOM].membership == "join"
    assert list(rooms.watchers(ROOM)) == [ALICE]
    apply(rooms, Change(ALICE, "leave"), position=6)
    assert list(rooms.watchers(ROOM)) == []
    assert rooms.newest_change(ALICE) == 6


def test_changes_of_users_who_do_not_sync_are_only_named(rooms: UserRooms) -> None:
    assert apply(rooms, Change(ALICE, "join")) == [ALICE]
    assert list(rooms.watchers(ROOM)) == []


def test_an_event_that_a_resolution_brought_back_is_read_from_the_store(
    store: Store, rooms: UserRooms
) -> None:
    store.rows[ALICE] = [row()]
    load(rooms)
    change = Change(ALICE, "join")
    change.changes = [(("m.room.member", ALICE), EventID("$old"), EventID("$older"))]
    assert apply(rooms, change) == [ALICE]
    store.rows[ALICE] = [row("ban", position=5)]
    load(rooms)
    assert rooms.of(ALICE)[ROOM].membership == "ban"
    assert list(rooms.watchers(ROOM)) == []


def test_a_change_while_the_store_is_asked_is_not_overwritten(store: Store, rooms: UserRooms) -> None:
    store.waits = True
    loading = load(rooms)
    apply(rooms, Change(ALICE, "join"))
    store.rows[ALICE] = [row("join", position=5)]
    store.asked.pop(0)()
    assert not loading.called
    store.asked.pop(0)()
    assert loading.called
    assert list(rooms.watchers(ROOM)) == [ALICE]


def test_loading_afresh_never_stops_the_watching(store: Store, rooms: UserRooms) -> None:
    store.rows[ALICE] = [row()]
    load(rooms)
    store.waits = True
    loading = load(rooms, afresh=True)
    assert list(rooms.watchers(ROOM)) == [ALICE]
    store.asked.pop(0)()
    assert loading.called


def test_who_synced_longest_ago_makes_room_but_nobody_who_waits(store: Store, rooms: UserRooms) -> None:
    for user_id in (BOB, ALICE, UserID("@carol:hs1")):
        store.rows[user_id] = [row()]
        load(rooms, user_id)
    assert sorted(rooms.watchers(ROOM)) == [BOB, "@carol:hs1"]
