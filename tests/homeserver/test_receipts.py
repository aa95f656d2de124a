"""Receipts: they only go forward, know threads, and travel between servers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.homeserver.errors import Forbidden, InvalidParam
from minihs.homeserver.sync.receipts import receipt_events
from minihs.store.receipts import ReceiptRow, ReceiptStore
from tests.support.sync_service import SyncServer

ALICE, BOB, FAR = UserID("@alice:hs1"), UserID("@bob:hs1"), UserID("@carol:hs2")
HS2 = ServerName("hs2")


class World:
    """A room with five messages and two members."""

    def __init__(self) -> None:
        self.server = SyncServer()
        self.room = self.server.create()
        self.server.join(self.room, BOB)
        self.said = [EventID(self.server.say(self.room, ALICE, f"{number}")) for number in range(5)]
        self.store = ReceiptStore(self.server.database.reader)

    def read(self, event_id: str, kind: str = "m.read", thread: str | None = None, user: str = BOB) -> None:
        self.server.run(
            self.server.syncs.receipts.read_up_to(UserID(user), self.room, kind, EventID(event_id), thread)
        )

    def at(self, kind: str = "m.read", thread: str = "", user: str = BOB) -> str | None:
        row = self.server.run(self.store.maybe_receipt(self.room, kind, UserID(user), thread))
        return None if row is None else row.event_id

    def inbound(self, content: Any, origin: str = "hs2") -> None:
        self.server.run(self.server.syncs.receipts.inbound_edu(ServerName(origin), content))

    def add_remote_member(self) -> None:
        self.server.run(
            self.server.database.reader.all(
                "INSERT INTO memberships (user_id, room_id, membership, event_id, sender, position)"
                " VALUES (?, ?, 'join', '$x', ?, 1)",
                (FAR, self.room, FAR),
            )
        )


@pytest.fixture
def world() -> World:
    return World()


def test_a_receipt_moves_forward_and_is_told_to_other_servers(world: World) -> None:
    world.read(world.said[1])
    world.read(world.said[3])
    assert world.at() == world.said[3]
    contents = [edu["content"][world.room]["m.read"][BOB]["event_ids"] for _, edu in world.server.edus]
    assert contents == [[world.said[1]], [world.said[3]]]


def test_a_receipt_never_goes_back(world: World) -> None:
    world.read(world.said[3])
    world.read(world.said[1])
    world.read(world.said[3])
    assert world.at() == world.said[3]
    assert len(world.server.edus) == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_the_furthest_receipt_stands_whatever_the_order(order: list[int]) -> None:
    world = World()
    for index in order:
        world.read(world.said[index])
    assert world.at() == world.said[max(order)]


def test_private_receipts_stay_here(world: World) -> None:
    world.read(world.said[1], "m.read.private")
    assert world.at("m.read.private") == world.said[1]
    assert (world.at(), world.server.edus) == (None, [])


def test_threads_have_receipts_of_their_own(world: World) -> None:
    root = world.said[0]
    content = {"body": "in thread", "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    reply = world.server.send(world.room, ALICE, content=content).event_id
    edit = {"body": "*", "m.relates_to": {"rel_type": "m.replace", "event_id": reply}}
    edited = world.server.send(world.room, ALICE, content=edit).event_id
    world.read(reply, thread=root)
    world.read(edited, thread=root)
    world.read(root, thread="main")
    world.read(world.said[4])
    assert (world.at(thread=root), world.at(thread="main"), world.at()) == (edited, root, world.said[4])
    data = [
        edu["content"][world.room]["m.read"][BOB]["data"].get("thread_id") for _, edu in world.server.edus
    ]
    assert data == [root, root, "main", None]


@pytest.mark.parametrize(("reply_to", "thread"), [("reply", "main"), ("root", "root"), ("plain", "root")])
def test_a_receipt_for_the_wrong_thread_is_refused(world: World, reply_to: str, thread: str) -> None:
    root = world.said[0]
    content = {"body": "in thread", "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    events = {
        "root": root,
        "plain": world.said[2],
        "reply": world.server.send(world.room, ALICE, content=content).event_id,
    }
    with pytest.raises(InvalidParam, match="thread"):
        world.read(events[reply_to], thread=events.get(thread, thread))


def test_relations_that_go_round_in_circles_end(world: World) -> None:
    content = {"body": "x", "m.relates_to": {"rel_type": "m.reference", "event_id": world.said[0]}}
    last = world.server.send(world.room, ALICE, content=content).event_id
    for _ in range(6):
        content = {"body": "x", "m.relates_to": {"rel_type": "m.reference", "event_id": last}}
        last = world.server.send(world.room, ALICE, content=content).event_id
    world.read(last, thread="main")
    assert world.at(thread="main") == last


def test_who_is_not_joined_cannot_read(world: World) -> None:
    with pytest.raises(Forbidden):
        world.read(world.said[0], user="@stranger:hs1")


def test_an_unknown_kind_is_refused(world: World) -> None:
    with pytest.raises(InvalidParam, match=r"m\.read"):
        world.read(world.said[0], "m.seen")


def test_an_event_that_is_not_here_changes_nothing(world: World) -> None:
    world.read("$unknown")
    other = world.server.create()
    world.read(world.server.say(other, ALICE))
    assert (world.at(), world.server.edus) == (None, [])


def edu(world: World, event_id: str, **data: Any) -> Any:
    return {world.room: {"m.read": {FAR: {"event_ids": [event_id], "data": {"ts": 5, **data}}}}}


def test_other_servers_receipts_are_taken_and_only_go_forward(world: World) -> None:
    world.add_remote_member()
    world.inbound(edu(world, world.said[2]))
    world.inbound(edu(world, world.said[1], ts=9))
    assert world.at(user=FAR) == world.said[2]
    world.inbound(edu(world, world.said[3], thread_id="main"))
    assert world.at(user=FAR, thread="main") == world.said[3]


def test_a_receipt_may_come_before_its_event(world: World) -> None:
    world.add_remote_member()
    world.inbound(edu(world, "$later"))
    assert world.at(user=FAR) == "$later"
    world.inbound(edu(world, world.said[2], ts=4))
    assert world.at(user=FAR) == "$later"
    world.inbound(edu(world, world.said[2], ts=6))
    assert world.at(user=FAR) == world.said[2]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda room, entry: 5,
        lambda room, entry: {"m.read": 5},
        lambda room, entry: {"m.read": {FAR: 5}},
        lambda room, entry: {"m.read": {BOB: entry}},
        lambda room, entry: {"m.read": {"carol": entry}},
        lambda room, entry: {"m.read": {"@stranger:hs2": entry}},
        lambda room, entry: {"m.read.private": {FAR: entry}},
        lambda room, entry: {"m.read": {FAR: {**entry, "event_ids": []}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "event_ids": [5]}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "event_ids": "$x"}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "event_ids": ["no event id"]}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "data": 5}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "data": {}}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "data": {"ts": "now"}}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "data": {"ts": -1}}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "data": {"ts": 1, "thread_id": 5}}}},
        lambda room, entry: {"m.read": {FAR: {**entry, "data": {"ts": 1, "thread_id": "x" * 256}}}},
    ],
)
def test_what_makes_no_sense_in_an_edu_is_ignored(world: World, spoil: Any) -> None:
    world.add_remote_member()
    good = edu(world, world.said[2])
    entry = good[world.room]["m.read"][FAR]
    world.inbound({world.room: spoil(world.room, entry)})
    assert world.server.run(world.store.current()) == 0
    world.inbound(good)
    assert world.at(user=FAR) == world.said[2]


def test_a_room_id_that_is_none_is_ignored(world: World) -> None:
    world.inbound({"not a room": {"m.read": {FAR: {"event_ids": ["$x"], "data": {"ts": 1}}}}})
    assert world.server.run(world.store.current()) == 0


def test_receipts_survive_a_restart(world: World) -> None:
    world.read(world.said[2])
    world.server.restart()
    assert world.at() == world.said[2]
    world.read(world.said[1])
    assert world.at() == world.said[2]


def test_clients_get_one_event_for_each_thread() -> None:
    def row(event: str, thread: str, kind: str = "m.read") -> ReceiptRow:
        return ReceiptRow(
            room_id=RoomID("!r"),
            receipt_type=kind,
            user_id=BOB,
            thread_id=thread,
            event_id=EventID(event),
            event_position=1,
            ts=7,
        )

    assert receipt_events([row("$a", ""), row("$a", "main"), row("$b", "", "m.read.private")]) == [
        {
            "type": "m.receipt",
            "content": {
                "$a": {"m.read": {BOB: {"ts": 7}}},
                "$b": {"m.read.private": {BOB: {"ts": 7}}},
            },
        },
        {"type": "m.receipt", "content": {"$a": {"m.read": {BOB: {"ts": 7, "thread_id": "main"}}}}},
    ]
