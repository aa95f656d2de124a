"""Cursors over the outbound log and pages of what a destination has not got."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from minihs.events.ids import ServerName
from minihs.store.database import Database, open_database
from minihs.store.destinations import DestinationRow, DestinationStore, PendingPage
from minihs.store.writer import Batch

HS2, HS3 = ServerName("hs2.test"), ServerName("hs3.test")


def database(*events: tuple[int, str]) -> Database:
    """An outbound log of (position, JSON list of servers)."""
    opened = open_database()
    sets: dict[str, int] = {}
    for position, servers in events:
        if servers not in sets:
            sets[servers] = len(sets) + 1
            opened.writing.execute("INSERT INTO destination_sets VALUES (?, ?)", (sets[servers], servers))
        opened.writing.execute("INSERT INTO outbound_events VALUES (?, ?)", (position, sets[servers]))
        opened.writing.execute(
            "INSERT INTO events"
            " (position, event_id, room_id, type, sender, depth, origin_server_ts, standing, pdu)"
            " VALUES (?, ?, '!r', 'm.room.message', '@a:hs1', 1, 1, 0, ?)",
            (position, f"$e{position}", f'{{"n":{position}}}'.encode()),
        )
    return opened


def page(
    opened: Database, server: ServerName, after: int = 0, upto: int | None = None, limit: int = 50
) -> PendingPage:
    pages: list[PendingPage] = []
    Deferred.fromCoroutine(
        DestinationStore(opened.reader).page_of_pending(server, after, upto, limit)
    ).addCallback(pages.append)
    return pages[0]


def test_a_page_holds_only_what_is_for_that_server_in_order() -> None:
    opened = database((1, '["hs2.test"]'), (2, '["hs3.test"]'), (3, '["hs2.test","hs3.test"]'))
    assert [event.position for event in page(opened, HS2).events] == [1, 3]
    assert [event.pdu for event in page(opened, HS3).events] == [b'{"n":2}', b'{"n":3}']


def test_a_page_starts_after_the_cursor_and_ends_at_its_bounds() -> None:
    opened = database(*((position, '["hs2.test"]') for position in range(1, 10)))
    assert [event.position for event in page(opened, HS2, after=3, limit=2).events] == [4, 5]
    assert [event.position for event in page(opened, HS2, after=3, upto=6).events] == [4, 5, 6]


def test_a_server_in_few_rooms_skips_what_lies_before_its_next_event() -> None:
    opened = database(*((position, '["hs3.test"]') for position in range(1, 3000)), (3000, '["hs2.test"]'))
    assert page(opened, HS2) == PendingPage(events=page(opened, HS2).events, upto=3000)
    assert [event.position for event in page(opened, HS2).events] == [3000]


def test_nothing_pending_is_an_empty_page_without_a_bound() -> None:
    opened = database((1, '["hs3.test"]'), (2, '["hs2.test"]'))
    assert page(opened, HS2, after=2) == PendingPage((), None)
    assert page(opened, HS2, after=0, upto=1) == PendingPage((), None)


def test_servers_with_pending_events_are_found_at_start() -> None:
    opened = database((1, '["hs3.test"]'), (2, '["hs2.test"]'))
    store = DestinationStore(opened.reader)
    batch = Batch()
    store.put(batch, DestinationRow(server_name=HS3, sent_position=1))
    for sql, params in batch.statements:
        opened.writing.execute(sql, params)
    found: list[object] = []
    Deferred.fromCoroutine(store.all_with_pending()).addCallback(found.extend)
    assert found == [HS2]


def test_a_destination_is_read_back_as_it_was_stored() -> None:
    opened = database()
    store = DestinationStore(opened.reader)
    row = DestinationRow(
        server_name=HS2,
        sent_position=7,
        sending_position=9,
        failing_since_ms=1,
        retry_at_ms=2,
        retry_interval_ms=3,
    )
    batch = Batch()
    store.put(batch, row)
    for sql, params in batch.statements:
        opened.writing.execute(sql, params)
    found: list[object] = []
    Deferred.fromCoroutine(store.maybe_destination(HS2)).addCallback(found.append)
    Deferred.fromCoroutine(store.maybe_destination(HS3)).addCallback(found.append)
    Deferred.fromCoroutine(store.all_failing()).addCallback(found.extend)
    assert found == [row, None, row]
