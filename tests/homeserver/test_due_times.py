"""The timer index against a naive list: nothing is lost, nothing early, order kept, memory bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred, succeed

from minihs.futures.model import FutureID
from minihs.homeserver.futures.due_times import DueTimes, Entry

WINDOW = 16
NUMBERS = st.integers(min_value=1, max_value=60).map(FutureID)


class Table:
    """The timers as the store has them; answers at once, or when it is told to."""

    def __init__(self) -> None:
        self.rows: dict[FutureID, int] = {}
        self.slow: list[tuple[Deferred[None], list[Entry]]] | None = None

    async def load_after(self, after: Entry, limit: int) -> list[Entry]:
        entries = sorted((due, number) for number, due in self.rows.items())
        found = [entry for entry in entries if entry > after][:limit]
        waiting: Deferred[None] = succeed(None)
        if self.slow is not None:
            waiting = Deferred()
            self.slow.append((waiting, found))
        await waiting
        return found


def run(work: Callable[[], Awaitable[None]]) -> None:
    done: list[object] = []
    Deferred.fromCoroutine(work()).addBoth(done.append)  # type: ignore[arg-type]
    assert done == [None]


class IndexMachine(RuleBasedStateMachine):
    """`table.rows` is the truth: what is scheduled and not yet taken."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.index = DueTimes(self.table.load_after, window=WINDOW)
        self.now = 0
        run(self.index.refill)

    @rule(number=NUMBERS, delay=st.integers(min_value=1, max_value=500))
    def store(self, number: FutureID, delay: int) -> None:
        """A new future, or a heartbeat."""
        due = max(self.now + delay, self.table.rows.get(number, 0))
        self.table.rows[number] = due
        self.index.set(due, number)

    @rule(number=NUMBERS)
    def finalise(self, number: FutureID) -> None:
        self.table.rows.pop(number, None)
        self.index.discard(number)

    @rule(number=NUMBERS, delay=st.integers(min_value=1, max_value=500))
    def store_while_the_store_is_being_read(self, number: FutureID, delay: int) -> None:
        self.table.slow = []
        reading = Deferred.fromCoroutine(self.index.refill())
        self.store(number, delay)
        slow, self.table.slow = self.table.slow, None
        for waiting, _ in slow:
            waiting.callback(None)
        assert reading.called

    @rule(ms=st.integers(min_value=0, max_value=300))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        expected = sorted((due, number) for number, due in self.table.rows.items() if due <= self.now)
        taken: list[Entry] = []
        while True:
            run(self.index.refill)
            entry = self.index.take(self.now)
            if entry is None:
                break
            taken.append(entry)
            if self.table.rows.get(entry[1]) == entry[0]:
                del self.table.rows[entry[1]]
        # An entry may be of a future that has been restarted or finalised: whoever takes it asks the engine.
        assert [entry for entry in taken if entry in expected] == expected
        assert taken == sorted(taken)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.index) <= WINDOW

    @invariant()
    def the_first_is_never_later_than_it_should_be(self) -> None:
        run(self.index.refill)
        if self.table.rows:
            first = self.index.first_ms()
            assert first is not None
            assert first <= min(self.table.rows.values())


IndexMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestIndexMachine = IndexMachine.TestCase


def test_a_heartbeat_costs_no_place_in_the_heap() -> None:
    index = DueTimes(Table().load_after)
    run(index.refill)
    for beat in range(1_000):
        index.set(10_000 + beat, FutureID(1))
    assert len(index._heap) == 1
    assert index.first_ms() == 10_999


def test_it_says_when_the_first_is_earlier_than_before() -> None:
    index = DueTimes(Table().load_after)
    run(index.refill)
    calls: list[None] = []
    index.on_earlier = lambda: calls.append(None)
    for due, heard in ((100, 1), (200, 1), (50, 2), (60, 2)):
        index.set(due, FutureID(due))
        assert len(calls) == heard


def test_a_future_can_be_brought_up_again_behind_the_horizon() -> None:
    table = Table()
    table.rows = {FutureID(number): number for number in range(1, 100)}
    index = DueTimes(table.load_after, window=WINDOW)
    run(index.refill)
    index.discard(FutureID(1))
    index.again(90, FutureID(1))
    assert len(index) == WINDOW // 2
    while (entry := index.take(89)) is not None:
        assert entry[1] != 1
    assert index.take(90) == (90, FutureID(1))
