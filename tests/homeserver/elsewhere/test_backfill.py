"""History from before our time, fetched from other servers in the room."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.store.events import Standing
from tests.support.deferreds import finish, start
from tests.support.events import RoomBuilder
from tests.support.federated import FederatedServer, Wire

ALICE, BOB = "@alice:hs1", "@bob:hs2"


def joined_late(messages: int) -> tuple[FederatedServer, FederatedServer, RoomID, list[str]]:
    """hs2 joins a room of hs1 after some messages."""
    wire = Wire()
    hs1, hs2 = FederatedServer("hs1", wire), FederatedServer("hs2", wire)
    room_id = hs1.create(ALICE)
    early = [hs1.send(room_id, ALICE).event_id for _ in range(messages)]
    hs2.join(BOB, room_id, "hs1")
    return hs1, hs2, room_id, early


def placed(server: FederatedServer, room_id: RoomID) -> list[str]:
    """The accepted events in stream order."""
    rows = server.run(
        server.database.reader.all(
            "SELECT event_id FROM events WHERE room_id = ? AND standing = 0 ORDER BY position", (room_id,)
        )
    )
    return [event_id for (event_id,) in rows]


def test_history_is_fetched_in_its_order_down_to_the_creation_of_the_room() -> None:
    hs1, hs2, room_id, _ = joined_late(3)
    assert len(placed(hs2, room_id)) == 1
    assert hs2.run(hs2.federation.backfill.before(room_id)) is True
    assert placed(hs2, room_id) == placed(hs1, room_id)
    for event_id in placed(hs1, room_id):
        assert dict(hs2.run(hs2.rooms.state_before(event_id))) == dict(
            hs1.run(hs1.rooms.state_before(event_id))
        )
    assert hs2.run(hs2.federation.backfill.before(room_id)) is False


def test_a_long_history_comes_in_portions() -> None:
    hs1, hs2, room_id, early = joined_late(150)
    assert hs2.run(hs2.federation.backfill.before(room_id)) is True
    assert len(placed(hs2, room_id)) == 101 - 1 + 1
    assert hs2.run(hs2.federation.backfill.before(room_id)) is True
    assert placed(hs2, room_id) == placed(hs1, room_id)
    assert set(early) <= set(placed(hs2, room_id))


def test_history_changes_neither_the_state_nor_what_comes_next() -> None:
    hs1, hs2, room_id, _ = joined_late(3)
    state, tips = hs2.state(room_id), hs2.run(hs2.rooms.extremities(room_id))
    hs2.run(hs2.federation.backfill.before(room_id))
    assert hs2.state(room_id) == state
    assert hs2.run(hs2.rooms.extremities(room_id)) == tips
    hs2.open()
    assert hs2.state(room_id) == state
    message = hs2.send(room_id, BOB)
    assert hs1.receive("hs2", message) == {message.event_id: {}}


@pytest.mark.parametrize("peer", ["away", "refuses", "lies"])
def test_a_server_that_does_not_help_leaves_the_history_as_it_is(peer: str) -> None:
    hs1, hs2, room_id, _early = joined_late(3)
    before = placed(hs2, room_id)
    honest = hs1.wire.peers["hs1"]
    if peer == "away":
        hs1.wire.down.add("hs1")
    elif peer == "refuses":
        hs1.send(room_id, ALICE, "m.room.server_acl", state_key="", content={"allow": ["hs1"]})
    else:
        hs1.wire.peers["hs1"] = lambda *_: {"pdus": [{"type": "junk"}, {}]}
    assert hs2.run(hs2.federation.backfill.before(room_id)) is False
    assert placed(hs2, room_id) == before
    if peer == "lies":
        hs1.wire.peers["hs1"] = honest
        assert hs2.run(hs2.federation.backfill.before(room_id)) is True


def test_history_with_a_forged_event_keeps_the_rest() -> None:
    hs1, hs2, room_id, early = joined_late(3)

    async def answer(method, path, args, body):  # type: ignore[no-untyped-def]
        reply = await hs1.answer(method, path, args, body)
        if "backfill" in path:
            reply["pdus"][2]["signatures"] = {"hs1": {"ed25519:1": "AAAA"}}
        return reply

    hs1.wire.peers["hs1"] = answer
    assert hs2.run(hs2.federation.backfill.before(room_id)) is True
    row = hs2.run(hs2.rooms.row(early[0]))
    assert row is None or row.standing is not Standing.ACCEPTED


def test_two_who_read_on_at_once_need_one_fetch() -> None:
    hs1, hs2, room_id, _ = joined_late(3)
    gate: Deferred[None] = Deferred()

    async def slowly(method, path, args, body):  # type: ignore[no-untyped-def]
        await gate
        return await hs1.answer(method, path, args, body)

    hs1.wire.peers["hs1"] = slowly
    hs2.wire.asked.clear()
    waiting = [start(hs2.federation.backfill.before(room_id)) for _ in range(2)]
    gate.callback(None)
    assert [finish(hs2.clock, done) for done in waiting] == [True, True]
    assert sum("backfill" in path for *_, path in hs2.wire.asked) == 1


def test_history_that_does_not_lead_to_what_we_have_is_not_kept() -> None:
    """Whoever is asked for history may not add to it what nobody in the room has followed."""
    hs1, hs2, room_id, early = joined_late(3)
    aside = RoomBuilder(ROOM_VERSIONS["11"])
    aside.room_id = room_id
    for event_id in placed(hs1, room_id)[:-1]:
        row = hs1.run(hs1.rooms.row(event_id))
        assert row is not None
        aside.add(row.event)
    slipped_in = aside.message(ALICE, "slipped in")
    honest = hs2.wire.peers["hs1"]

    async def adding(method: str, path: str, args: Any, body: Any) -> Any:
        answer = await honest(method, path, args, body)
        return {**answer, "pdus": [slipped_in.pdu, *answer["pdus"]]} if "backfill" in path else answer

    hs2.wire.peers["hs1"] = adding
    assert hs2.run(hs2.federation.backfill.before(room_id)) is True
    assert placed(hs2, room_id) == placed(hs1, room_id)
    assert set(early) <= set(placed(hs2, room_id))
