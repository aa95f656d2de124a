"""How many futures there may be, how long outcomes are kept, what accounts may do at send time."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import UserID
from minihs.futures.model import FutureID
from minihs.futures.policies import FutureLimits
from minihs.store.future_rows import Payload
from tests.support.future_server import C, FutureServer

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> FutureServer:
    return FutureServer()


def test_one_more_than_the_maximum_is_refused_until_one_is_finalised() -> None:
    server = FutureServer(limits=FutureLimits(max_scheduled=3))
    room_id = server.create()
    ids = [server.schedule(room_id, 10_000, txn=f"t{number}") for number in range(3)]
    path = f"/_matrix/client/v3/rooms/{room_id}/delayed_event/m.room.message/more"
    refused = server.put(path, {"delay_ms": 10_000, "content": {}})
    assert (refused.status, refused.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert refused.headers["retry-after"] == "10"
    assert 9_000 < refused.json["retry_after_ms"] <= 10_000
    server.act(ids[0], "cancel")
    assert server.put(path, {"delay_ms": 10_000, "content": {}}).status == 200


def test_the_count_survives_a_restart() -> None:
    server = FutureServer(limits=FutureLimits(max_scheduled=1))
    room_id = server.create()
    server.schedule(room_id, 10_000)
    server.restart()
    path = f"/_matrix/client/v3/rooms/{room_id}/delayed_event/m.room.message/more"
    assert server.put(path, {"delay_ms": 10_000, "content": {}}).status == 429


def test_requests_at_the_same_moment_do_not_slip_past_the_maximum() -> None:
    server = FutureServer(limits=FutureLimits(max_scheduled=3))
    room_id = server.create()
    path = f"/_matrix/client/v3/rooms/{room_id}/delayed_event/m.room.message"
    asked = [
        server.http.start("PUT", f"{path}/t{number}", json={"delay_ms": 10_000, "content": {}}, token="alice")
        for number in range(10)
    ]
    answers = [server.http.finish(connection).status for connection in asked]
    assert 1 <= answers.count(200) <= 3
    assert answers.count(429) == 10 - answers.count(200)
    later = [
        server.put(f"{path}/later{number}", {"delay_ms": 10_000, "content": {}}).status for number in range(3)
    ]
    assert later.count(200) == 3 - answers.count(200)


def test_what_is_stored_while_the_store_is_counting_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FutureServer(limits=FutureLimits(max_scheduled=1))
    path = f"/_matrix/client/v3/rooms/{server.create()}/delayed_event/m.room.message"
    body = {"delay_ms": 10_000, "content": {}}
    store = server.future_service.store
    count = store.scheduled_count
    told: Deferred[None] = Deferred()

    async def count_and_tell_late(owner: UserID) -> int:
        counted = await count(owner)
        if not told.called:
            await told
        return counted

    server.hold_writer()
    first = server.http.start("PUT", f"{path}/first", json=body, token="alice")
    server.settle()
    monkeypatch.setattr(store, "scheduled_count", count_and_tell_late)
    second = server.http.start("PUT", f"{path}/second", json=body, token="alice")
    server.settle()
    server.release_writer()
    assert server.http.finish(first).status == 200
    told.callback(None)
    assert server.http.finish(second).status == 429


def test_due_sends_beyond_the_budget_fail_with_that_error() -> None:
    server = FutureServer(rate_limits=True, due_budget=2)
    room_id = server.create()
    ids = [server.schedule(room_id, 60_000, txn=f"t{number}") for number in range(4)]
    server.pass_ms(70_000)
    assert len(server.sent(room_id)) == 2
    outcomes = [server.lookup(delay_id)["finalised"] for delay_id in ids]
    assert [outcome.get("error", {}).get("errcode") for outcome in outcomes] == [
        None,
        None,
        "M_LIMIT_EXCEEDED",
        "M_LIMIT_EXCEEDED",
    ]


def test_catching_up_after_a_restart_is_outside_the_budget() -> None:
    server = FutureServer(rate_limits=True, due_budget=2)
    room_id = server.create()
    for number in range(4):
        server.schedule(room_id, 60_000, txn=f"t{number}")
    server.restart(away_ms=70_000)
    server.settle()
    assert len(server.sent(room_id)) == 4


def test_outcomes_are_kept_for_a_time() -> None:
    server = FutureServer(limits=FutureLimits(retention_ms=60_000))
    room_id = server.create()
    delay_id = server.schedule(room_id, 1_000)
    server.pass_ms(1_000)
    server.pass_ms(59_000)
    assert server.act(delay_id, "send").status == 200
    server.pass_ms(2_000)
    assert server.lookup(delay_id)["errcode"] == "M_NOT_FOUND"
    assert server.act(delay_id, "send").status == 404


def test_only_the_newest_outcomes_of_a_user_are_kept() -> None:
    server = FutureServer(limits=FutureLimits(retention_count=3))
    room_id = server.create()
    ids = []
    for number in range(6):
        ids.append(server.schedule(room_id, 1_000, txn=f"t{number}"))
        server.pass_ms(1_001)
    known = ["finalised" in server.lookup(delay_id) for delay_id in ids]
    assert known == [False, False, False, True, True, True]


def test_what_is_kept_no_longer_is_no_longer_stored() -> None:
    server = FutureServer(limits=FutureLimits(retention_ms=60_000, retention_count=16))
    room_id = server.create()

    def stored(table: str) -> int:
        return int(server.database.writing.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message"
    for number in range(3):
        assert server.put(f"{path}/{number}?future_timeout=1000", {}).status == 200
    server.pass_ms(1_000)
    assert (stored("futures"), stored("future_tokens")) == (3, 9)
    server.pass_ms(60_001)
    server.schedule(room_id, 1_000)
    server.pass_ms(1_001)
    assert (stored("futures"), stored("future_tokens")) == (1, 0)


def test_deactivation_cancels_everything_of_the_user_and_nothing_else(server: FutureServer) -> None:
    room_id = server.create()
    server.join(room_id, BOB)
    server.schedule(room_id, 10_000)
    of_bob = [server.schedule(room_id, 10_000, txn=f"t{n}", token="bob") for n in range(3)]
    server.run(server.futures.cancel_all(BOB))
    server.pass_ms(10_000)
    assert [event.sender for event in server.sent(room_id)] == [ALICE]
    assert all("finalised" in server.lookup(delay_id, "bob") for delay_id in of_bob)


def test_deactivation_waits_for_an_event_that_is_being_made(
    server: FutureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = server.create()
    path = f"{C}/v1/delayed_events/{server.schedule(room_id, 10_000)}/send"
    store = server.future_service.store
    read = store.one_payload
    told: Deferred[None] = Deferred()

    async def read_and_tell_late(future_id: FutureID) -> Payload:
        await told
        return await read(future_id)

    monkeypatch.setattr(store, "one_payload", read_and_tell_late)
    sending = server.http.start("POST", path, json={}, token="alice")
    server.settle()
    ended: list[object] = []
    Deferred.fromCoroutine(server.futures.cancel_all(ALICE)).addBoth(ended.append)
    server.settle()
    assert ended == []
    told.callback(None)
    assert server.http.finish(sending).status == 200
    server.settle()
    assert ended == [None]
    assert len(server.sent(room_id)) == 1
