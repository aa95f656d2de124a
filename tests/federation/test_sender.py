"""Events and EDUs on their way to other servers: batches, outages, restarts, several destinations."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from minihs.events.ids import ServerName
from minihs.federation import log_pruning
from minihs.federation.sender import MARK_AFTER_MS
from minihs.http.request import Reply
from minihs.lab.memory_network import Link
from minihs.store.destinations import DestinationStore
from tests.support.deferreds import start
from tests.support.federation import INITIAL_PAUSE_MS, MAX_PAUSE_MS, Node, ReceivedTransaction, World

HS1, HS2, HS3 = ServerName("hs1.test"), ServerName("hs2.test"), ServerName("hs3.test")
TYPING = {"edu_type": "m.typing", "content": {"room_id": "!r", "user_id": "@a:hs1.test", "typing": True}}


def never(_: ReceivedTransaction) -> Deferred[Any]:
    return Deferred()


def refuse(_: ReceivedTransaction) -> Any:
    return succeed(Reply(status=500, body={"errcode": "M_UNKNOWN", "error": "no"}))


def accept(_: ReceivedTransaction) -> Any:
    return succeed({"pdus": {}})


def two() -> tuple[World, Node, Node]:
    world = World()
    return world, world.node(HS1), world.node(HS2)


def restarted(world: World, node: Node) -> Node:
    """The same server in a new process."""
    started = Node(world.network, node.host, node.name, database=node.database, keys=node.keys)
    start(started.sender.start())
    return started


def test_events_that_come_while_a_transaction_is_under_way_share_the_next_ones() -> None:
    world, one, other = two()
    for number in range(121):
        one.queue_event(f"{number}", [HS2])
        if number == 0:
            world.pass_time(1)
    world.pass_time(500)
    assert other.inbox.texts == [f"{number}" for number in range(121)]
    assert [len(transaction.texts) for transaction in other.inbox.received] == [1, 50, 50, 20]
    assert {transaction.body["origin"] for transaction in other.inbox.received} == {HS1}
    assert (one.sender.counts.transactions, one.sender.counts.pdus) == (4, 121)


def test_a_destination_gets_only_what_is_for_it() -> None:
    world, one, second = two()
    third = world.node(HS3)
    one.queue_event("both", [HS2, HS3])
    one.queue_event("third", [HS3])
    one.queue_event("second", [HS2])
    world.pass_time(500)
    assert (second.inbox.texts, third.inbox.texts) == (["both", "second"], ["both", "third"])


def test_a_slow_destination_delays_nobody() -> None:
    world, one, second = two()
    third = world.node(HS3)
    second.inbox.answer = never
    for number in range(3):
        one.queue_event(f"{number}", [HS2, HS3])
        world.pass_time(200)
    assert third.inbox.texts == ["0", "1", "2"]
    assert second.inbox.texts == ["0"]


def test_a_refused_transaction_is_repeated_as_it_was_and_the_backlog_follows() -> None:
    world, one, other = two()
    other.inbox.answer = refuse
    one.queue_event("first", [HS2])
    world.pass_time(100)
    one.queue_event("second", [HS2])
    world.pass_time(INITIAL_PAUSE_MS)
    other.inbox.answer = accept
    world.pass_time(INITIAL_PAUSE_MS * 4)
    *repeats, last = [(transaction.txn_id, transaction.texts) for transaction in other.inbox.received]
    assert len(repeats) >= 2
    assert repeats == [(repeats[0][0], ["first"])] * len(repeats)
    assert last[1] == ["second"]


def test_attempts_become_rarer_while_a_server_is_away_and_the_backlog_comes_in_pages() -> None:
    world, one, other = two()
    world.network.set_link(one.host.address, other.host.address, Link.REFUSING)
    for number in range(130):
        one.queue_event(f"{number}", [HS2])
    world.pass_time(30 * 60_000)
    failures = one.sender.counts.failures
    assert 30 < failures < 50  # 1 + 2 + 4 + … + 60 s, then every 48 to 60 s
    row = one.destination(HS2)
    assert row is not None
    assert row["retry_interval_ms"] == MAX_PAUSE_MS
    world.network.set_link(one.host.address, other.host.address, Link.UP)
    world.pass_time(MAX_PAUSE_MS)
    assert other.inbox.texts == [f"{number}" for number in range(130)]
    row = one.destination(HS2)
    assert row is not None
    assert (row["sent_position"], row["retry_at_ms"]) == (130, None)


def test_a_sign_of_life_ends_the_pause_early() -> None:
    world, one, other = two()
    world.network.set_link(one.host.address, other.host.address, Link.REFUSING)
    one.queue_event("waiting", [HS2])
    world.pass_time(10 * 60_000)
    world.network.set_link(one.host.address, other.host.address, Link.UP)
    world.pass_time(2_000)
    assert other.inbox.texts == []
    world.finish(other.client.put(HS1, "/_matrix/federation/v1/send/x", {"pdus": []}))
    world.pass_time(100)
    assert other.inbox.texts == ["waiting"]


def test_a_restart_resumes_what_was_pending() -> None:
    world, one, other = two()
    one.queue_event("before", [HS2], wake=False)
    world.pass_time(10)
    assert other.inbox.texts == []
    world.finish(one.sender.stop())
    restarted(world, one)
    world.pass_time(500)
    assert other.inbox.texts == ["before"]


def test_a_transaction_that_was_never_answered_keeps_its_id_over_a_crash_and_new_events() -> None:
    world, one, other = two()
    other.inbox.answer = never
    one.queue_event("first", [HS2])
    world.pass_time(MARK_AFTER_MS * 2)
    one.queue_event("second", [HS2])
    world.pass_time(10)
    world.network.crash(one.host.address)
    one.sender._started = False  # the process is gone: nothing of it runs any more
    other.inbox.answer = accept
    after = restarted(world, one)
    after.listen()
    world.pass_time(2_000)
    contents = [(transaction.txn_id, transaction.texts) for transaction in other.inbox.received]
    first, second = contents[0], contents[-1]
    assert (first[1], second[1]) == (["first"], ["second"])
    assert contents[1:-1] == [first] * (len(contents) - 2)
    assert len(contents) >= 3


def test_a_pause_survives_a_restart() -> None:
    world, one, other = two()
    world.network.set_link(one.host.address, other.host.address, Link.REFUSING)
    one.queue_event("waiting", [HS2])
    world.pass_time(10 * 60_000)
    world.finish(one.sender.stop())
    world.network.set_link(one.host.address, other.host.address, Link.UP)
    after = restarted(world, one)
    world.pass_time(30)
    pause = after.retries.pause_of(HS2)
    assert pause is not None
    assert pause.interval_ms == MAX_PAUSE_MS
    world.pass_time(MAX_PAUSE_MS)
    assert other.inbox.texts == ["waiting"]


def test_nothing_is_sent_after_stop() -> None:
    world, one, other = two()
    world.finish(one.sender.stop())
    one.queue_event("late", [HS2])
    world.pass_time(1_000)
    assert other.inbox.texts == []
    assert one.sender._timers == {}


def test_edus_reach_those_that_work_and_are_dropped_for_those_that_do_not() -> None:
    world, one, second = two()
    third = world.node(HS3, listen=False)
    one.sender.send_edu([HS1, HS2, HS3], TYPING)
    world.pass_time(200)
    assert [transaction.body["edus"] for transaction in second.inbox.received] == [[TYPING]]
    one.sender.send_edu([HS3], TYPING)
    assert one.sender.counts.dropped_edus == 1
    third.listen()
    world.pass_time(5_000)
    assert third.inbox.received == []


def test_an_edu_that_was_replaced_before_it_left_is_not_sent() -> None:
    world, one, other = two()
    stopped = {**TYPING, "content": {**TYPING["content"], "typing": False}}  # type: ignore[dict-item]
    one.sender.send_edu([HS2], TYPING, replaces=("m.typing", "!r"))
    one.sender.send_edu([HS2], stopped, replaces=("m.typing", "!r"))
    world.pass_time(200)
    assert [transaction.body["edus"] for transaction in other.inbox.received][-1] == [stopped]


def test_the_same_world_sends_the_same_bytes() -> None:
    def story() -> list[tuple[str, str, int]]:
        world, one, other = two()
        one.queue_event("a", [HS2])
        one.sender.send_edu([HS2], TYPING)
        world.pass_time(300)
        one.queue_event("b", [HS2])
        world.pass_time(300)
        return [
            (transaction.txn_id, transaction.origin, transaction.body["origin_server_ts"])
            for transaction in other.inbox.received
        ]

    assert story() == story()


def test_a_queue_that_crashes_begins_again_from_what_is_stored() -> None:
    world, one, other = two()
    pages = one.sender._store.page_of_pending
    failures = [OSError("the disk is away")]

    async def unreliable(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await pages(*args)

    one.sender._store.page_of_pending = unreliable  # type: ignore[method-assign]
    one.queue_event("hello", [HS2])
    world.pass_time(10)
    assert other.inbox.texts == []
    world.pass_time(INITIAL_PAUSE_MS * 2)
    assert other.inbox.texts == ["hello"]


def test_cursors_of_idle_destinations_are_read_again_when_they_were_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minihs.federation.sender.MAX_QUEUES", 1)
    world, one, second = two()
    world.node(HS3)
    for text, server, kept in (("a", HS2, [HS2]), ("b", HS3, [HS3]), ("c", HS2, [HS2])):
        one.queue_event(text, [server])
        world.pass_time(200)
        assert list(one.sender._queues) == kept
    assert [transaction.texts for transaction in second.inbox.received] == [["a"], ["c"]]


def logged(node: Node) -> list[int]:
    return [
        row[0] for row in node.database.writing.execute("SELECT position FROM outbound_events ORDER BY 1")
    ]


def test_the_log_forgets_what_every_destination_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pruning, "PRUNE_AFTER", 1)
    world, one, second = two()
    third = world.node(HS3)
    world.network.set_link(one.host.address, third.host.address, Link.REFUSING)
    one.queue_event("second", [HS2])
    one.queue_event("both", [HS2, HS3])
    one.queue_event("second", [HS2])
    world.pass_time(500)
    one.queue_event("second", [HS2])
    world.pass_time(500)
    assert logged(one)[0] == 2
    assert 3 not in logged(one)
    world.network.set_link(one.host.address, third.host.address, Link.UP)
    world.pass_time(MAX_PAUSE_MS)
    assert third.inbox.texts == ["both"]
    restarted(world, one)
    world.pass_time(500)
    assert logged(one) == []
    assert second.inbox.texts == ["second", "both", "second", "second"]


def test_pruning_keeps_up_with_a_long_backlog_without_loading_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world, one, other = two()
    world.network.set_link(one.host.address, other.host.address, Link.REFUSING)
    for number in range(3_000):
        one.queue_event(f"{number}", [HS2], wake=number == 0)
    world.pass_time(1_000)
    sizes: list[int] = []
    load = DestinationStore.page_of_pending

    async def counted(*args: Any) -> Any:
        page = await load(*args)
        sizes.append(len(page.events))
        return page

    monkeypatch.setattr(DestinationStore, "page_of_pending", counted)
    world.network.set_link(one.host.address, other.host.address, Link.UP)
    world.pass_time(MAX_PAUSE_MS)
    assert other.inbox.texts == [f"{number}" for number in range(3_000)]
    assert max(sizes) == 50
    assert len(logged(one)) < log_pruning.PRUNE_AFTER
