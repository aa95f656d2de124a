"""Long polls: who is woken, when, and what a wait ends with."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import EventID, UserID
from tests.support.sync_service import Client, SyncServer, bodies, joined, plain, timeline_ids

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def result_of(waiting: Deferred[dict[str, object]]) -> dict[str, object]:
    results: list[dict[str, object]] = []
    waiting.addCallback(results.append)
    return plain(results[0])


def test_a_wait_ends_with_the_next_event(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    waiting = client.start_sync()
    assert not waiting.called
    server.say(room, ALICE, "news")
    server.clock.advance(0)
    assert bodies(joined(result_of(waiting), room)) == ["news"]


def test_a_wait_without_news_ends_at_its_timeout(server: SyncServer) -> None:
    server.create()
    client = Client(server)
    client.sync()
    waiting = client.start_sync(timeout_ms=5_000)
    server.clock.advance(4.999)
    assert not waiting.called
    server.clock.advance(0.001)
    assert "rooms" not in result_of(waiting)
    assert server.clock.getDelayedCalls() == []
    assert server.syncs.notifier.listening == 0


def test_a_sync_with_news_does_not_wait(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    server.say(room, ALICE)
    assert client.start_sync().called


@pytest.mark.inline_store
def test_first_syncs_and_full_state_do_not_wait(server: SyncServer) -> None:
    client = Client(server, "@nobody:hs1")
    assert client.start_sync().called
    client.sync()
    assert client.start_sync(full_state=True).called


def test_events_elsewhere_wake_nobody(server: SyncServer) -> None:
    mine, other = server.create(), server.create(creator=BOB)
    client = Client(server)
    client.sync()
    waiting = client.start_sync()
    server.say(other, BOB)
    server.clock.advance(0)
    assert not waiting.called
    server.say(mine, ALICE)
    server.clock.advance(0)
    assert timeline_ids(joined(result_of(waiting), mine))


def test_an_invite_wakes_the_invited(server: SyncServer) -> None:
    room = server.create()
    bob = Client(server, BOB)
    bob.sync()
    waiting = bob.start_sync()
    server.join(room, BOB, "invite", by=ALICE)
    server.clock.advance(0)
    assert room in result_of(waiting)["rooms"]["invite"]


def test_who_is_removed_hears_of_it(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    bob = Client(server, BOB)
    bob.sync()
    waiting = bob.start_sync()
    server.join(room, BOB, "leave", by=ALICE)
    server.clock.advance(0)
    assert room in result_of(waiting)["rooms"]["leave"]


def test_news_that_the_filter_hides_does_not_end_the_wait(server: SyncServer) -> None:
    room = server.create()
    client = Client(server, filter={"room": {"timeline": {"types": ["m.x"]}}})
    client.sync()
    waiting = client.start_sync()
    server.say(room, ALICE)
    server.clock.advance(0)
    assert not waiting.called
    server.send(room, ALICE, "m.x")
    server.clock.advance(0)
    assert len(timeline_ids(joined(result_of(waiting), room))) == 1


def test_a_wait_that_is_cancelled_gives_the_empty_reply(server: SyncServer) -> None:
    client = Client(server)
    client.sync()
    waiting = client.start_sync()
    waiting.cancel()
    assert "rooms" not in result_of(waiting)
    assert server.syncs.notifier.listening == 0
    assert server.clock.getDelayedCalls() == []


def test_stopping_answers_all_waits(server: SyncServer) -> None:
    client = Client(server)
    client.sync()
    waiting = client.start_sync()
    server.syncs.stop()
    assert "rooms" not in result_of(waiting)


def test_many_waits_are_all_answered(server: SyncServer) -> None:
    room = server.create()
    clients = [Client(server, device_id=f"D{number}") for number in range(100)]
    for client in clients:
        client.sync()
    waits = [client.start_sync() for client in clients]
    server.say(room, ALICE)
    server.clock.advance(0)
    assert all(wait.called for wait in waits)


def test_what_became_durable_together_is_answered_together(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    waiting = client.start_sync()
    drafts = [server.draft(room, ALICE, f"{number}") for number in range(30)]
    server.run(server.rooms.send_all(drafts))
    server.clock.advance(0)
    assert len(bodies(joined(result_of(waiting), room))) == 30


def test_a_token_of_a_timeout_is_up_to_date(server: SyncServer) -> None:
    server.create()
    other = server.create(creator=BOB)
    client = Client(server)
    client.sync()
    waiting = client.start_sync(timeout_ms=1_000)
    server.say(other, BOB)
    server.clock.advance(1)
    assert f"e{server.service.stream.current}_" in result_of(waiting)["next_batch"]


@pytest.mark.parametrize(("kind", "bob_hears"), [("m.read", True), ("m.read.private", False)])
def test_a_private_receipt_wakes_its_user_alone(server: SyncServer, kind: str, bob_hears: bool) -> None:
    room = server.create()
    server.join(room, BOB)
    said = EventID(server.say(room, ALICE))
    alice, bob = Client(server), Client(server, BOB)
    alice.sync(), bob.sync()
    waits = [alice.start_sync(), bob.start_sync()]
    server.run(server.syncs.receipts.read_up_to(UserID(ALICE), room, kind, said))
    server.clock.advance(0)
    assert [wait.called for wait in waits] == [True, bob_hears]
