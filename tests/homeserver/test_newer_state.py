"""Newer state and futures: which event ends which future, in one batch with it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from minihs.rooms.state_map import StateChange
from tests.support.future_server import FutureServer

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> FutureServer:
    return FutureServer()


def put_state(server: FutureServer, room_id: str, sender: str) -> None:
    server.send(room_id, sender, "m.call.member", state_key="call", content={"n": 1})


def room_with_bob(server: FutureServer) -> str:
    room_id = server.create(
        extra=[
            {
                "type": "m.room.power_levels",
                "state_key": "",
                "content": {"users": {ALICE: 100}, "state_default": 0},
            }
        ]
    )
    server.join(room_id, BOB)
    return room_id


def by_query(server: FutureServer, room_id: str, delay_ms: int = 10_000) -> str:
    path = f"/_matrix/client/v3/rooms/{room_id}/state/m.call.member/call"
    response = server.put(f"{path}?org.matrix.msc4140.delay={delay_ms}", {"left": True})
    return str(response.json["delay_id"])


def test_state_of_somebody_else_ends_a_future_in_its_own_batch(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    delay_id = by_query(server, room_id)
    put_state(server, room_id, BOB)
    finalised = server.lookup(delay_id)["finalised"]
    assert finalised["error"]["errcode"] == "M_CANCELLED_BY_STATE_UPDATE"
    server.pass_ms(20_000)
    assert len(server.sent(room_id, "m.call.member")) == 1


def test_state_of_its_owner_does_not(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    delay_id = by_query(server, room_id)
    put_state(server, room_id, ALICE)
    assert "finalised" not in server.lookup(delay_id)


@pytest.mark.parametrize(("sender", "ended"), [(BOB, True), (ALICE, False)])
def test_state_that_came_back_with_another_event_ends_a_future_like_newer_state(
    server: FutureServer, sender: str, ended: bool
) -> None:
    room_id = room_with_bob(server)
    put_state(server, room_id, sender)
    delay_id = by_query(server, room_id)
    back = next(one.event for one in server.observer.committed if one.event.type == "m.call.member")
    server.send(room_id, ALICE)
    change = StateChange(("m.call.member", "call"), None, back.event_id)
    resolving = replace(server.observer.committed[-1], state_changes=(change,))
    server.futures._steps.event_committed(resolving)
    server.settle()
    assert ("finalised" in server.lookup(delay_id)) == ended


def test_newer_state_wins_against_a_timer_that_rings_at_that_moment(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    delay_id = by_query(server, room_id, 10_000)
    server.hold_writer()
    sending = server.http.start(
        "PUT",
        f"/_matrix/client/v3/rooms/{room_id}/state/m.call.member/call",
        json={"n": 2},
        token="bob",
    )
    server.pass_ms(10_000)
    server.release_writer()
    assert server.http.finish(sending).status == 200
    assert [event.sender for event in server.sent(room_id, "m.call.member")] == [BOB]
    assert server.lookup(delay_id)["finalised"]["error"]["errcode"] == "M_CANCELLED_BY_STATE_UPDATE"


def test_a_timer_that_rang_before_newer_state_leads_to_both(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    by_query(server, room_id, 10_000)
    server.hold_writer()
    server.pass_ms(10_000)
    path = f"/_matrix/client/v3/rooms/{room_id}/state/m.call.member/call"
    sending = server.http.start("PUT", path, json={"n": 2}, token="bob")
    server.release_writer()
    assert server.http.finish(sending).status == 200
    assert [event.sender for event in server.sent(room_id, "m.call.member")] == [ALICE, BOB]


def test_state_ends_a_future_that_the_last_process_stored(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    delay_id = by_query(server, room_id)
    server.restart()
    put_state(server, room_id, BOB)
    assert server.lookup(delay_id)["finalised"]["error"]["errcode"] == "M_CANCELLED_BY_STATE_UPDATE"


def test_state_ends_a_future_whose_group_is_not_in_memory(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    delay_id = by_query(server, room_id)
    groups = server.futures._groups
    live = groups.loaded(delay_id)
    groups.drop(live)
    assert groups.loaded(delay_id) is None
    put_state(server, room_id, BOB)
    assert server.lookup(delay_id)["finalised"]["error"]["errcode"] == "M_CANCELLED_BY_STATE_UPDATE"


def test_state_that_is_not_stored_ends_nothing(server: FutureServer) -> None:
    room_id = room_with_bob(server)
    delay_id = by_query(server, room_id)
    server.database.writing.execute(
        "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    refused = server.put(f"/_matrix/client/v3/rooms/{room_id}/state/m.call.member/call", {}, "bob")
    assert refused.status == 503
    server.database.writing.execute("DROP TRIGGER full")
    assert "finalised" not in server.lookup(delay_id)
    server.pass_ms(10_000)
    assert len(server.sent(room_id, "m.call.member")) == 1
