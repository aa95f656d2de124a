"""The queue of one destination: batching, one transaction at a time, repeats that are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minihs.federation.queue import (
    MAX_BODY_BYTES,
    MAX_EDUS,
    MAX_PDUS,
    DestinationQueue,
    Load,
    QueuedPdu,
    QueueMisused,
    Transaction,
)


def pdus(*positions: int) -> list[QueuedPdu]:
    return [QueuedPdu(position, b"{%d}" % position) for position in positions]


def edu(number: int) -> dict[str, Any]:
    return {"edu_type": "m.typing", "content": {"n": number}}


def test_a_new_queue_has_nothing_to_do() -> None:
    queue = DestinationQueue("s")
    assert queue.next_step() is None
    assert queue.is_idle()


def test_events_are_loaded_behind_the_cursor_and_sent() -> None:
    queue = DestinationQueue("s", sent_position=7)
    queue.events_added()
    assert queue.next_step() == Load(after=7, upto=None, limit=MAX_PDUS)
    sent = queue.loaded(pdus(8, 11), upto=11)
    assert isinstance(sent, Transaction)
    assert ([queued.position for queued in sent.pdus], sent.last_position) == ([8, 11], 11)
    assert queue.next_step() is None
    queue.delivered()
    assert queue.sent_position == 11
    assert queue.next_step() == Load(after=11, upto=None, limit=MAX_PDUS)
    assert queue.loaded([], upto=None) is None
    assert queue.is_idle()


def test_a_failed_transaction_is_repeated_with_its_events_and_its_id_before_anything_else() -> None:
    queue = DestinationQueue("s")
    queue.events_added()
    queue.next_step()
    first = queue.loaded(pdus(1, 2), upto=2)
    queue.events_added()
    queue.failed()
    assert queue.next_step() == Load(after=0, upto=2, limit=MAX_PDUS)
    again = queue.loaded(pdus(1, 2), upto=2)
    assert first is not None
    assert again == first
    queue.delivered()
    assert queue.next_step() == Load(after=2, upto=None, limit=MAX_PDUS)


def test_a_restart_repeats_what_was_under_way_with_the_same_id() -> None:
    before = DestinationQueue("s1")
    before.events_added()
    before.next_step()
    sent = before.loaded(pdus(1, 2), upto=2)
    before.failed()
    after = DestinationQueue("s2", before.sent_position, before.sending_position)
    assert after.next_step() == Load(after=0, upto=2, limit=MAX_PDUS)
    assert after.loaded(pdus(1, 2), upto=2) == sent


def test_other_events_at_the_same_positions_get_another_id() -> None:
    one, other = DestinationQueue("s"), DestinationQueue("s")
    sent = one.loaded([QueuedPdu(1, b"{}")], upto=1)
    assert sent is not None
    assert other.loaded([QueuedPdu(1, b'{"a":1}')], upto=1) != sent
    assert one.in_flight is sent


def test_what_was_to_be_repeated_and_is_gone_does_not_stop_the_queue() -> None:
    queue = DestinationQueue("s", 0, 5)
    assert queue.next_step() == Load(after=0, upto=5, limit=MAX_PDUS)
    queue.loaded([], upto=None)
    assert queue.next_step() == Load(after=0, upto=None, limit=MAX_PDUS)


def test_a_page_without_events_only_moves_the_cursor() -> None:
    queue = DestinationQueue("s")
    queue.events_added()
    assert queue.loaded([], upto=40) is None
    assert queue.next_step() == Load(after=40, upto=None, limit=MAX_PDUS)


def test_edus_travel_with_events_and_alone() -> None:
    queue = DestinationQueue("s")
    queue.add_edu(edu(1))
    alone = queue.next_step()
    assert isinstance(alone, Transaction)
    assert (alone.pdus, alone.edus) == ((), (edu(1),))
    queue.add_edu(edu(2))
    queue.delivered()
    queue.events_added()
    queue.next_step()
    together = queue.loaded(pdus(1), upto=1)
    assert together is not None
    assert together.edus == (edu(2),)
    assert together.txn_id != alone.txn_id


def test_an_edu_takes_the_place_of_one_that_it_replaces() -> None:
    queue = DestinationQueue("s")
    queue.add_edu(edu(1), replaces="room")
    queue.add_edu(edu(2), replaces="other room")
    queue.add_edu(edu(3), replaces="room")
    sent = queue.next_step()
    assert isinstance(sent, Transaction)
    assert sent.edus == (edu(2), edu(3))


def test_too_many_edus_drop_the_oldest() -> None:
    queue = DestinationQueue("s")
    for number in range(MAX_EDUS + 5):
        queue.add_edu(edu(number))
    sent = queue.next_step()
    assert isinstance(sent, Transaction)
    assert sent.edus == tuple(edu(number) for number in range(5, MAX_EDUS + 5))


def test_a_failure_drops_edus_and_leaves_nothing_to_repeat_when_there_were_no_events() -> None:
    queue = DestinationQueue("s")
    queue.add_edu(edu(1))
    queue.next_step()
    queue.add_edu(edu(2))
    queue.failed()
    assert queue.is_idle()


def test_a_transaction_ends_before_it_grows_too_large() -> None:
    queue = DestinationQueue("s")
    half = b"x" * (MAX_BODY_BYTES // 2)
    sent = queue.loaded([QueuedPdu(1, half), QueuedPdu(2, half), QueuedPdu(3, b"{}")], upto=3)
    assert sent is not None
    assert sent.last_position == 2


def test_reports_that_do_not_fit_are_refused() -> None:
    queue = DestinationQueue("s")
    with pytest.raises(QueueMisused):
        queue.delivered()
    queue.loaded(pdus(1), upto=1)
    with pytest.raises(QueueMisused):
        queue.loaded(pdus(2), upto=2)


class Destination(RuleBasedStateMachine):
    """A log, a queue that may be restarted at any moment, and a receiver that skips repeated IDs.

    Whatever happens, the receiver gets every event, in order, and no event under a new ID after it has
    acknowledged it.
    """

    @initialize()
    def begin(self) -> None:
        self.log: list[int] = []
        self.next_position = 1
        self.accepted: list[int] = []
        self.seen_ids: dict[str, tuple[int, ...]] = {}
        self.queue = DestinationQueue("s")
        self.stored: tuple[int, int | None] = (0, None)
        self.sessions = 0

    @rule(gap=st.integers(1, 3), for_us=st.booleans())
    def event(self, gap: int, for_us: bool) -> None:
        self.next_position += gap
        if for_us:
            self.log.append(self.next_position)
            self.queue.events_added()

    @rule(number=st.integers(0, 3))
    def edu(self, number: int) -> None:
        self.queue.add_edu(edu(number), replaces=number or None)

    @precondition(lambda self: self.queue.in_flight is None)
    @rule(page=st.integers(1, 4))
    def step(self, page: int) -> None:
        step = self.queue.next_step()
        if isinstance(step, Load):
            found = [at for at in self.log if at > step.after and (step.upto is None or at <= step.upto)]
            # A repeat must load what it loaded before: the log's pages are as long as the queue asks.
            found = found[: page if step.upto is None else step.limit]
            self.queue.loaded(pdus(*found), found[-1] if found else None)

    @precondition(lambda self: self.queue.in_flight is not None)
    @rule(arrives=st.booleans(), answered=st.booleans())
    def exchange(self, arrives: bool, answered: bool) -> None:
        sent = self.queue.in_flight
        assert sent is not None
        if arrives:
            self.receive(sent)
        if arrives and answered:
            self.queue.delivered()
        else:
            self.queue.failed()

    def receive(self, sent: Transaction) -> None:
        positions = tuple(queued.position for queued in sent.pdus)
        if sent.txn_id in self.seen_ids:
            assert self.seen_ids[sent.txn_id] == positions
            return
        self.seen_ids[sent.txn_id] = positions
        self.accepted.extend(at for at in positions if at not in self.accepted)

    @rule()
    def store(self) -> None:
        self.stored = (self.queue.sent_position, self.queue.sending_position)

    @rule()
    def restart(self) -> None:
        self.sessions += 1
        self.queue = DestinationQueue(f"s{self.sessions}", *self.stored)
        self.queue.events_added()

    @invariant()
    def the_receiver_has_a_prefix_of_the_log(self) -> None:
        assert self.accepted == self.log[: len(self.accepted)]
        assert self.queue.sent_position <= max(self.log, default=0)

    def teardown(self) -> None:
        for _ in range(len(self.log) * 2 + 10):
            if self.queue.in_flight is None:
                self.step(4)
            if self.queue.in_flight is not None:
                self.exchange(True, True)
        assert self.accepted == self.log
        assert self.queue.is_idle()


TestDestination = Destination.TestCase
