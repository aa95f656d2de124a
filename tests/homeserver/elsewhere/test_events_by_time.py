"""Events by time between servers: what ours answers, what it makes of answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.ids import RoomID, ServerName
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.remote_lookups import RemoteLookups
from tests.support.federated import FederatedServer, Wire

ALICE, BOB = "@alice:hs1", "@bob:hs2"
V1 = "/_matrix/federation/v1"


@pytest.fixture
def hs1() -> FederatedServer:
    return FederatedServer("hs1", Wire())


def room_of(hs1: FederatedServer) -> tuple[RoomID, list[str]]:
    """A room that Bob is in, and messages of the seconds 1001, 1002, 1002 and 1004."""
    hs2 = FederatedServer("hs2", hs1.wire)
    room_id = hs1.create(ALICE)
    hs2.join(BOB, room_id, "hs1")
    times = (1_001_000, 1_002_000, 1_002_000, 1_004_000)
    base = hs1.clock.wall_ms()
    sent = [hs1.send(room_id, ALICE, origin_server_ts=base + time) for time in times]
    return room_id, [event.event_id for event in sent]


def ask(hs1: FederatedServer, room_id: str, origin: str = "hs2", **args: Any) -> Any:
    return hs1.ask(origin, "GET", f"{V1}/timestamp_to_event/{quote(room_id)}", args)


@pytest.mark.parametrize(
    ("second", "direction", "expected"),
    [
        (1_000, "f", 0),
        (1_001, "f", 0),
        (1_001, "b", 0),
        (1_002, "f", 1),
        (1_002, "b", 2),
        (1_003, "f", 3),
        (1_003, "b", 2),
        (9_999, "b", 3),
    ],
)
def test_the_nearest_event_in_a_direction_is_told(
    hs1: FederatedServer, second: int, direction: str, expected: int
) -> None:
    base = hs1.clock.wall_ms()
    room_id, sent = room_of(hs1)
    found = ask(hs1, room_id, ts=str(base + second * 1000), dir=direction)
    assert found["event_id"] == sent[expected]
    row = hs1.run(hs1.rooms.row(sent[expected]))
    assert found["origin_server_ts"] == row.event.origin_server_ts


@pytest.mark.parametrize(("ts", "direction"), [("0", "b"), (str((1 << 53) - 1), "f")])
def test_where_there_is_no_event_none_is_told(hs1: FederatedServer, ts: str, direction: str) -> None:
    room_id, _ = room_of(hs1)
    with pytest.raises(RemoteRefusal) as refusal:
        ask(hs1, room_id, ts=ts, dir=direction)
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")


def test_only_servers_in_the_room_may_ask(hs1: FederatedServer) -> None:
    room_id, _ = room_of(hs1)
    assert ask(hs1, room_id, ts="0", dir="f")
    with pytest.raises(RemoteRefusal) as refusal:
        ask(hs1, room_id, "hs3", ts="0", dir="f")
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("args", "errcode"),
    [
        ({"dir": "f"}, "M_MISSING_PARAM"),
        ({"ts": "0"}, "M_MISSING_PARAM"),
        ({"ts": "0", "dir": "x"}, "M_INVALID_PARAM"),
        ({"ts": "x", "dir": "f"}, "M_INVALID_PARAM"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    hs1: FederatedServer, args: dict[str, str], errcode: str
) -> None:
    room_id, _ = room_of(hs1)
    with pytest.raises(RemoteRefusal) as refusal:
        ask(hs1, room_id, **args)
    assert (refusal.value.status, refusal.value.errcode) == (400, errcode)


EVENT_ID = "$" + "a" * 43


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"event_id": EVENT_ID},
        {"event_id": "x", "origin_server_ts": 6},
        {"event_id": EVENT_ID, "origin_server_ts": 4},
        {"event_id": EVENT_ID, "origin_server_ts": "6"},
        {"event_id": EVENT_ID, "origin_server_ts": 1 << 60},
        [],
    ],
)
def test_an_answer_that_makes_no_sense_is_none(hs1: FederatedServer, answer: Any) -> None:
    lookups = RemoteLookups(hs1.wire.client("hs1"))

    def asked() -> Any:
        return hs1.run(lookups.timestamp_to_event(ServerName("hs2"), RoomID("!a:hs2"), 5, "f"))

    hs1.wire.peers["hs2"] = lambda *_: {"event_id": EVENT_ID, "origin_server_ts": 5}
    assert asked().event_id == EVENT_ID
    hs1.wire.peers["hs2"] = lambda *_: answer
    with pytest.raises(Unreachable):
        asked()
