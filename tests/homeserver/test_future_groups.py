"""Groups in memory: what a state event may end is there in time, however little is kept."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from minihs.futures.model import Cancelled, Cause, Future, FutureGroup, GroupID
from minihs.homeserver.futures.groups import FutureGroups, LiveGroup
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.future_rows import Payload
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, Writer
from tests.support.deferreds import run
from tests.support.futures import ALICE, ROOM, call_leave
from tests.support.yielding import YieldingReader, open_yielding_database

KEYS = ("a", "b")


class Memory:
    """A few groups in memory, over a store that waits."""

    def __init__(self, seed: int = 0, capacity: int = 2) -> None:
        self.clock = VirtualClock()
        database = open_yielding_database(seed)
        assert isinstance(database.reader, YieldingReader)
        database.reader.clock = self.clock
        self.store = FutureStore(database.reader)
        self.writer = Writer(
            database.writing, clock=self.clock, workers=InlineWorkers(), on_fatal=lambda _: None
        )
        self.capacity = capacity
        self.start()

    def start(self) -> None:
        """A process that knows nothing yet."""
        self.groups = FutureGroups(self.store, capacity=self.capacity)
        run(self.clock, self.groups.load())

    def schedule(self, number: int, key: str) -> LiveGroup:
        """In memory at once, durable in a while."""
        waiting = call_leave(number, state_key=key)
        live = LiveGroup(FutureGroup(GroupID(number), ALICE, None, (waiting,)))
        self.groups.add(live)
        batch = Batch()
        self.store.add(batch, waiting, live.group, Payload(content={}))
        self._submit(live, batch)
        return live

    def cancel(self, live: LiveGroup) -> None:
        """Over in memory at once, on disk in a while."""
        [waiting] = live.group.members
        over = replace(waiting, outcome=Cancelled(Cause.ACTION, 0))
        self.groups.update(live, replace(live.group, members=(over,)))
        self.groups.ended(live, over)
        batch = Batch()
        self.store.finalise(batch, over, over.id)
        self._submit(live, batch)

    def find(self, key: str) -> Deferred[list[int]]:
        """What a state event there would end, as the room service asks for it."""

        async def find() -> list[int]:
            slot = (ROOM, "m.call.member", key)
            while (reading := self.groups.reading(slot)) is not None:
                await reading
            return _scheduled(live.group for live in self.groups.on_slot(slot))

        return Deferred.fromCoroutine(find())

    def settle(self) -> None:
        for _ in range(200):
            self.clock.advance(0)

    def _submit(self, live: LiveGroup, batch: Batch) -> None:
        live.pending += 1
        self.writer.submit(batch).addCallback(lambda _: self._durable(live))

    def _durable(self, live: LiveGroup) -> None:
        live.pending -= 1
        self.groups.settle(live)


def _scheduled(groups: Iterable[FutureGroup]) -> list[int]:
    members: list[Future] = [future for group in groups for future in group.scheduled]
    return [future.id for future in members]


def found(memory: Memory, key: str) -> list[int]:
    answers: list[list[int]] = []
    memory.find(key).addCallback(answers.append)
    memory.settle()
    return answers[0]


def test_a_new_process_finds_what_is_on_a_slot_without_having_read_all() -> None:
    memory = Memory()
    for number in (1, 2, 3):
        memory.schedule(number, "a")
    memory.schedule(4, "b")
    memory.settle()
    memory.start()
    assert memory.groups.loaded("delay-1") is None
    assert found(memory, "b") == [4]
    assert memory.groups.loaded("delay-1") is None
    assert found(memory, "c") == []


def test_more_groups_on_a_slot_than_memory_was_made_for_are_found_all_the_same() -> None:
    memory = Memory(capacity=5)
    for number in range(1, 31):
        memory.schedule(number, "a")
        memory.settle()
    assert found(memory, "a") == list(range(1, 31))


def test_where_nothing_can_be_ended_nothing_is_read() -> None:
    memory = Memory()
    assert memory.groups.reading((ROOM, "m.call.member", "a")) is None
    memory.schedule(1, "a")
    assert found(memory, "b") == []
    assert memory.groups.reading((ROOM, "m.call.member", "b")) is None, "it has just been read"


ACTIONS = ["schedule", "schedule", "cancel", "find", "restart"]
TURNS = [0, 1, 2, 200]


@settings(max_examples=200)
@given(
    seed=st.integers(0, 1_000),
    steps=st.lists(
        st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9), st.sampled_from(TURNS)),
        min_size=3,
        max_size=25,
    ),
)
def test_no_group_on_a_slot_is_missed_whatever_comes_and_goes(seed: int, steps: list[Any]) -> None:
    memory = Memory(seed, capacity=1)
    waiting: dict[int, LiveGroup] = {}
    keys: dict[int, str] = {}
    missed: list[set[int]] = []
    for step, draw, turns in steps:
        if step == "schedule":
            number = len(keys) + 1
            keys[number] = KEYS[draw % 2]
            waiting[number] = memory.schedule(number, keys[number])
        elif step == "cancel" and waiting:
            number = sorted(waiting)[draw % len(waiting)]
            live = waiting.pop(number)
            again: list[LiveGroup] = []
            if live.gone:  # left to the store meanwhile, as after a long rest
                Deferred.fromCoroutine(memory.groups.one(GroupID(number))).addCallback(again.append)
                memory.settle()
                [live] = again
            memory.cancel(live)
        elif step == "find":
            key = KEYS[draw % 2]
            on_it = {number for number in waiting if keys[number] == key}
            # What was scheduled when it was asked, and still is, must be among what is found.
            memory.find(key).addCallback(
                lambda found, on_it=on_it: missed.append((on_it & waiting.keys()) - set(found))
            )
        elif step == "restart":
            memory.settle()
            memory.start()
            for live in waiting.values():
                live.gone = True
        for _ in range(turns):
            memory.clock.advance(0)
    memory.settle()
    assert not any(missed)
    for key in KEYS:
        assert found(memory, key) == [number for number in sorted(waiting) if keys[number] == key]


def test_the_group_of_a_future_is_read_with_its_scheduled_members_and_no_others() -> None:
    memory = Memory()
    memory.schedule(1, "a")
    memory.cancel(memory.schedule(2, "b"))
    memory.settle()
    memory.start()
    for number in (1, 2, 3):
        run(memory.clock, memory.groups.load_with(f"delay-{number}"))
    live = memory.groups.loaded("delay-1")
    assert live is not None
    assert _scheduled([live.group]) == [1]
    assert memory.groups.loaded("delay-2") is None, "it is finished"
    assert memory.groups.loaded("delay-3") is None, "there is none"


@given(st.integers(0, 1_000), st.integers(0, 8))
def test_what_was_read_before_a_group_ended_does_not_bring_it_back(seed: int, turns: int) -> None:
    memory = Memory(seed)
    memory.schedule(1, "a")
    memory.settle()
    memory.start()
    reading = Deferred.fromCoroutine(memory.groups.load_with("delay-1"))
    live = run(memory.clock, memory.groups.one(GroupID(1)))
    if live is not None:
        memory.cancel(live)
    for _ in range(turns):
        memory.clock.advance(0)
    memory.settle()
    assert reading.called
    assert memory.groups.loaded("delay-1") is None
    assert run(memory.clock, memory.groups.one(GroupID(1))) is None


def test_groups_at_rest_are_nothing_for_the_garbage_collector_to_look_at() -> None:
    live = Memory().schedule(1, "a")
    gc.collect()
    assert not any(map(gc.is_tracked, (live, live.group, *live.group.members)))
    live.begin()  # who waits for it may wait in a circle
    assert gc.is_tracked(live)
