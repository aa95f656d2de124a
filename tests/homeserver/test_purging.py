"""Purging by parts: what it waits for, and that numbers are never given out twice."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID
from minihs.homeserver.errors import StillInRoom, Unavailable, UnknownRoom
from minihs.store.purges import PurgeStore
from minihs.store.receipts import ReceiptStore
from minihs.store.writer import Batch, WriterStopped
from tests.support.federated import FederatedServer, Wire, member_change

ALICE, BOB = "@alice:hs1", "@bob:hs2"


@pytest.fixture
def hs1() -> FederatedServer:
    return FederatedServer("hs1", Wire())


def left(server: FederatedServer) -> RoomID:
    """A room that its only user has left."""
    room_id = server.create(ALICE)
    server.send(room_id, ALICE, "m.room.member", state_key=ALICE, content={"membership": "leave"})
    return room_id


def write(server: FederatedServer, batch: Batch) -> None:
    async def written() -> None:
        await server.writer.submit(batch)

    server.run(written())


def is_gone(server: FederatedServer, room_id: RoomID) -> bool:
    (number,) = server.run(
        server.database.reader.one("SELECT COUNT(*) FROM events WHERE room_id = ?", (room_id,))
    )
    return bool(number == 0)


def test_an_administrator_removes_a_room_that_nobody_is_in(hs1: FederatedServer) -> None:
    room_id, other = left(hs1), hs1.create(ALICE)
    hs1.run(hs1.service.purges.purge(room_id))
    assert is_gone(hs1, room_id)
    assert not is_gone(hs1, other)
    with pytest.raises(UnknownRoom):
        hs1.run(hs1.rooms.version_of(room_id))


def test_an_administrator_cannot_remove_a_room_that_somebody_is_in(hs1: FederatedServer) -> None:
    room_id = hs1.create(ALICE)
    with pytest.raises(StillInRoom, match="Users of this server are in the room"):
        hs1.run(hs1.service.purges.purge(room_id))
    assert not is_gone(hs1, room_id)
    assert hs1.run(PurgeStore(hs1.database.reader, hs1.signer.server_name).maybe_next()) is None
    hs1.send(room_id, ALICE)


def test_a_room_stays_while_somebody_is_about_to_enter_it(hs1: FederatedServer) -> None:
    room_id = left(hs1)
    hs1.service.purges.keep(room_id)
    with pytest.raises(StillInRoom):
        hs1.run(hs1.service.purges.purge(room_id))
    hs1.service.purges.let_go(room_id)
    hs1.run(hs1.service.purges.purge(room_id))
    assert is_gone(hs1, room_id)


def test_a_room_stays_while_events_of_it_wait_to_be_judged(hs1: FederatedServer) -> None:
    room_id = left(hs1)
    batch = Batch()
    batch.add(
        "INSERT INTO inbound_pdus (origin, room_id, event_id, pdu, received_ms) VALUES (?, ?, ?, ?, ?)",
        ("hs2", room_id, "$x", b"{}", 0),
    )
    write(hs1, batch)
    with pytest.raises(StillInRoom, match="being judged"):
        hs1.run(hs1.service.purges.purge(room_id))
    batch = Batch()
    batch.add("DELETE FROM inbound_pdus")
    write(hs1, batch)
    hs1.run(hs1.service.purges.purge(room_id))
    assert is_gone(hs1, room_id)


def test_nobody_enters_a_room_while_it_is_going(hs1: FederatedServer) -> None:
    room_id = left(hs1)
    purges = hs1.service.purges
    refused: list[Exception] = []
    remove = purges._remove

    async def looked_at(row: Any) -> None:
        try:
            purges.keep(room_id)
        except Unavailable as unavailable:
            refused.append(unavailable)
        await remove(row)

    purges._remove = looked_at  # type: ignore[method-assign]
    hs1.run(purges.purge(room_id))
    assert len(refused) == 1
    purges.keep(room_id)


def test_a_server_that_stops_does_not_wait_for_a_large_room(hs1: FederatedServer) -> None:
    room_id = left(hs1)
    purges = hs1.service.purges
    slices = 0
    submit = purges._submit

    async def counted(fill: Any) -> None:
        nonlocal slices
        await submit(fill)
        slices += 1
        purges.stop()

    purges._submit = counted  # type: ignore[method-assign]
    with pytest.raises(WriterStopped):
        hs1.run(purges.purge(room_id))
    assert slices == 1
    hs1.open()
    hs1.run(hs1.service.purges.start(lambda user_id: None))
    hs1.clock.advance(1)
    assert is_gone(hs1, room_id)


def test_an_invite_that_comes_while_the_room_is_going_stays(hs1: FederatedServer) -> None:
    hs2 = FederatedServer("hs2", hs1.wire)
    room_id = hs2.create(BOB)
    hs1.join(ALICE, room_id, "hs2")
    leave = hs1.send(room_id, ALICE, "m.room.member", state_key=ALICE, content={"membership": "leave"})
    hs2.receive("hs1", leave)
    purges = hs1.service.purges
    remove = purges._remove

    async def invited_meanwhile(row: Any) -> None:
        await hs2.federation.remote_memberships.invite_remote(member_change("invite", BOB, room_id, ALICE))
        await remove(row)

    purges._remove = invited_meanwhile  # type: ignore[method-assign]
    hs1.run(purges.purge(room_id))
    assert is_gone(hs1, room_id)
    assert hs1.membership(ALICE, room_id) == "invite"
    purges._remove = remove  # type: ignore[method-assign]
    hs1.join(ALICE, room_id, "hs2")
    assert hs1.membership(ALICE, room_id) == "join"


def test_after_a_restart_no_number_is_given_out_twice(hs1: FederatedServer) -> None:
    room_id = left(hs1)
    batch = Batch()
    batch.add(
        "INSERT INTO receipts VALUES (?, 'm.read', ?, '', '$x', NULL, 0, 77)",
        (room_id, ALICE),
    )
    write(hs1, batch)
    position = hs1.service.stream.current
    (group,) = hs1.run(hs1.database.reader.one("SELECT MAX(state_group) FROM state_groups"))
    hs1.run(hs1.service.purges.purge(room_id))
    hs1.open()
    assert hs1.service.stream.current >= position
    assert hs1.run(ReceiptStore(hs1.database.reader).current()) == 77
    event = hs1.send(hs1.create(ALICE), ALICE)
    row = hs1.run(hs1.rooms.row(event.event_id))
    assert row.position > position
    assert row.before_group > group
