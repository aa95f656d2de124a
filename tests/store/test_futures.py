"""Futures in the database: what its own rules forbid, and what is found how."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from minihs.events.ids import EventID
from minihs.futures.model import (
    Cancelled,
    CancelRule,
    Cause,
    Failed,
    Future,
    FutureGroup,
    FutureID,
    GroupID,
    MatrixError,
    Millis,
    Sent,
)
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.database import open_database
from minihs.store.future_rows import Payload, slot_hash
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, BatchFailed, Writer
from tests.support.deferreds import finish, run
from tests.support.futures import ALICE, ROOM, call_leave, future


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.database = open_database()
        self.store = FutureStore(self.database.reader)
        self.writer = Writer(
            self.database.writing, clock=self.clock, workers=InlineWorkers(), on_fatal=pytest.fail
        )

    def write(self, *statements: Any) -> None:
        batch = Batch()
        for add, *args in statements:
            add(batch, *args)
        finish(self.clock, self.writer.submit(batch))

    def add(self, *futures: Future) -> FutureGroup:
        group = FutureGroup(GroupID(futures[0].id), ALICE, None, futures)
        self.write(*((self.store.add, one, group, Payload(content={"n": one.id})) for one in futures))
        return group

    def read(self, work: Any) -> Any:
        return run(self.clock, work)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ended(one: Future) -> Future:
    return replace(one, outcome=Cancelled(Cause.ACTION, 5))


@pytest.mark.parametrize(
    "one",
    [
        future(),
        call_leave(),
        future(timeout_ms=None),
        future(reveals_id=False),
        future(part="ended", bound_to=("m.call", "")),
    ],
)
def test_a_future_comes_back_as_it_was_stored(bench: Bench, one: Future) -> None:
    bench.add(one)
    stored = bench.read(bench.store.maybe_stored(one.delay_id))
    assert stored.future == one
    assert stored.payload.content == {"n": one.id}


@pytest.mark.parametrize(
    "outcome",
    [
        Sent(EventID("$e"), Cause.DELAY, 7),
        Cancelled(Cause.GROUP, 7),
        Failed(MatrixError(403, "M_FORBIDDEN", "No.", {"more": 1}), Cause.DELAY, 7),
    ],
)
def test_an_outcome_comes_back_as_it_was_stored(bench: Bench, outcome: Any) -> None:
    one = future()
    bench.add(one)
    finalised = replace(one, started_ms=Millis(99), since_ts=98, outcome=outcome)
    bench.write((bench.store.finalise, finalised, 1))
    assert bench.read(bench.store.maybe_future(one.delay_id)).future == finalised
    assert bench.read(bench.store.all_due_after((-1, FutureID(0)), 10)) == []


def test_a_future_has_one_outcome_and_what_comes_with_a_second_one_is_not_stored(bench: Bench) -> None:
    one = future()
    bench.add(one)
    bench.write((bench.store.finalise, ended(one), 2))
    batch = Batch()
    bench.store.set_secret(batch, "beside it", b"1")
    bench.store.finalise(batch, replace(one, outcome=Sent(EventID("$e"), Cause.DELAY, 7)), 9)
    with pytest.raises(BatchFailed, match="one outcome"):
        finish(bench.clock, bench.writer.submit(batch))
    assert bench.read(bench.store.maybe_secret("beside it")) is None


def test_a_heartbeat_moves_the_due_time(bench: Bench) -> None:
    one = future(timeout_ms=100)
    bench.add(one)
    bench.write((bench.store.restart, replace(one, started_ms=Millis(50), since_ts=51)))
    assert bench.read(bench.store.all_due_after((-1, FutureID(0)), 10)) == [(150, 1)]
    assert bench.read(bench.store.maybe_future(one.delay_id)).future.since_ts == 51


def test_scheduled_futures_of_a_user_are_counted_as_they_come_and_go(bench: Bench) -> None:
    bench.add(future(1), future(2), future(3, timeout_ms=None))
    assert bench.read(bench.store.scheduled_count(ALICE)) == 3
    bench.write((bench.store.finalise, ended(future(2)), 3))
    assert bench.read(bench.store.scheduled_count(ALICE)) == 2


def test_a_group_is_read_without_its_finalised_members(bench: Bench) -> None:
    bench.add(future(1), future(2))
    bench.write((bench.store.finalise, ended(future(1)), 4))
    assert bench.read(bench.store.maybe_group(GroupID(1))).members == (future(2),)
    bench.write((bench.store.finalise, ended(future(2)), 5))
    assert bench.read(bench.store.maybe_group(GroupID(1))) is None


def test_ids_are_not_reused_when_everything_is_forgotten(bench: Bench) -> None:
    bench.add(future(1), future(2))
    bench.write((bench.store.finalise, ended(future(1)), 6), (bench.store.finalise, ended(future(2)), 7))
    bench.write((bench.store.forget, [FutureID(1), FutureID(2)]))
    assert bench.read(bench.store.last_id()) == 2
    assert bench.read(bench.store.maybe_future("delay-1")) is None


def test_positions_are_not_given_again_when_everything_is_forgotten(bench: Bench) -> None:
    bench.add(future(1), future(2), future(3))
    bench.write((bench.store.finalise, ended(future(2)), 1), (bench.store.finalise, ended(future(1)), 2))
    bench.write((bench.store.forget, [FutureID(1), FutureID(2)]))
    assert bench.read(bench.store.last_position()) == 2
    assert bench.read(bench.store.maybe_future("delay-2")) is None


def test_tokens_go_with_their_futures(bench: Bench) -> None:
    bench.add(future(1), future(2), future(3))
    bench.write(*((bench.store.add_token, f"token {n}", FutureID(n), "send") for n in (1, 2, 3)))
    bench.write((bench.store.finalise, ended(future(1)), 1), (bench.store.finalise, ended(future(2)), 2))
    bench.write((bench.store.forget, [FutureID(1), FutureID(2), FutureID(3)]))
    found = [bench.read(bench.store.maybe_token(f"token {n}")) is not None for n in (1, 2, 3)]
    assert found == [False, True, True], "the second has the last position, the third is scheduled"


def test_only_what_was_sent_or_failed_is_news(bench: Bench) -> None:
    error = MatrixError(403, "M_FORBIDDEN", "No.")
    outcomes = [
        Sent(EventID("$e"), Cause.DELAY, 7),
        Cancelled(Cause.ACTION, 7),
        Failed(error, Cause.DELAY, 7),
        Cancelled(Cause.GROUP, 7),
    ]
    for number, outcome in enumerate(outcomes, 1):
        bench.add(future(number))
        bench.write((bench.store.finalise, replace(future(number), outcome=outcome), number))
    bench.add(future(5))

    def news(after: int, upto: int, *dialects: str) -> list[int]:
        found = bench.read(bench.store.all_news(ALICE, dialects or ("merged",), after, upto))
        return [stored.future.id for stored in found]

    assert news(0, 4) == [1, 3]
    assert news(1, 4) == [3]
    assert news(0, 2) == [1]
    assert news(0, 4, "tokens") == []

    def end(after: int, upto: int, limit: int) -> int:
        return bench.read(bench.store.one_end_of_news(ALICE, after, upto, limit))

    assert [end(0, 4, 1), end(0, 4, 2), end(0, 4, 3), end(1, 4, 1), end(1, 2, 1)] == [1, 3, 4, 3, 2]


def test_groups_on_a_slot_have_a_scheduled_future_or_a_bond_there(bench: Bench) -> None:
    own, other = (slot_hash(ROOM, "m.call.member", key) for key in (ALICE, "other"))
    assert bench.read(bench.store.has_slots()) is False
    bench.add(call_leave(1))
    bench.add(call_leave(2, bound_to=("m.call.member", "other")))
    bench.add(future(3, bound_to=("m.call.member", "other")))
    bench.add(call_leave(4, cancel_rule=CancelRule.NEVER))
    assert bench.read(bench.store.has_slots()) is True
    assert bench.read(bench.store.all_groups_on(own)) == [1, 2]
    assert bench.read(bench.store.all_groups_on(other)) == [2, 3]
    for number in (1, 2, 3):
        cancelled = replace(call_leave(number), outcome=Cancelled(Cause.ACTION, 0))
        bench.write((bench.store.finalise, cancelled, number))
    assert bench.read(bench.store.all_groups_on(own)) == []
    assert bench.read(bench.store.has_slots()) is False


def test_what_is_scheduled_is_not_forgotten(bench: Bench) -> None:
    bench.add(future(1), future(2))
    bench.write((bench.store.forget, [FutureID(1)]))
    assert bench.read(bench.store.maybe_future("delay-1")) is not None
