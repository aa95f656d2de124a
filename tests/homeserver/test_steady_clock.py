"""The steady clock: elapsed time while the process lives, the wall clock's over a restart, never ahead."""

from __future__ import annotations

import pytest

from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.database import open_database
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, Writer
from tests.support.deferreds import run


class World:
    """Processes one after another on one database and one machine."""

    def __init__(self, *, tells_boot: bool = False) -> None:
        self.clock = VirtualClock(tells_boot=tells_boot)
        self.database = open_database()
        self.store = FutureStore(self.database.reader)
        self.writer = Writer(
            self.database.writing, clock=self.clock, workers=InlineWorkers(), on_fatal=pytest.fail
        )
        self.steady = self.start()

    def start(self) -> SteadyClock:
        self.steady = SteadyClock(self.clock, self.store)
        run(self.clock, self.steady.load())
        return self.steady

    def note(self) -> bool:
        batch = Batch()
        noted = self.steady.note(batch, surely=True)
        self.writer.submit(batch)
        self.clock.advance(0)
        return noted


@pytest.fixture
def world() -> World:
    return World()


def test_it_begins_at_the_wall_clocks_time(world: World) -> None:
    assert world.steady.passed_ms() == world.clock.wall_ms()


@pytest.mark.parametrize("step_ms", [-86_400_000, -1, 1, 86_400_000])
def test_steps_of_the_wall_clock_do_not_move_it(world: World, step_ms: int) -> None:
    before = world.steady.passed_ms()
    world.clock.advance(5)
    world.clock.step_wall(step_ms)
    assert world.steady.passed_ms() == before + 5_000
    assert world.steady.now().wall == world.clock.wall_ms()


def test_starts_are_rounded_up_and_what_has_passed_is_rounded_down(world: World) -> None:
    begin = world.steady.passed_ms()
    world.clock.advance(0.0104)
    assert (world.steady.now().steady - begin, world.steady.past().steady - begin) == (11, 10)
    assert world.steady.wait_ms(begin + 11) == pytest.approx(0.6)


@pytest.mark.parametrize("step_ms", [-86_400_000, 0, 86_400_000])
@pytest.mark.parametrize("away_ms", [0, 1, 5_000, 86_400_000])
def test_over_a_restart_it_goes_on_by_the_time_that_passed_and_is_never_ahead(
    world: World, step_ms: int, away_ms: int
) -> None:
    world.note()
    world.clock.advance(3)
    world.clock.step_wall(step_ms)
    world.note()
    before = world.steady.passed_ms()
    world.clock.step_wall(away_ms)  # the machine ran on while no process did
    world.start()
    assert before + away_ms - 25 <= world.steady.passed_ms() <= before + away_ms


def test_a_little_drift_that_nobody_noted_makes_nothing_early(world: World) -> None:
    world.note()
    before = world.steady.passed_ms()
    world.clock.advance(3)
    world.clock.step_wall(2)
    world.start()
    assert before <= world.steady.passed_ms() <= before + 3_000


def test_a_wall_clock_that_fell_behind_while_the_server_was_down_undoes_no_time(world: World) -> None:
    world.clock.advance(3_600)
    world.note()
    before = world.steady.passed_ms()
    world.clock.step_wall(-50 * 365 * 86_400_000)
    world.start()
    assert world.steady.passed_ms() == before


def test_many_restarts_do_not_add_up_to_noticeable_lateness(world: World) -> None:
    for _ in range(100):
        world.note()
        world.start()
    assert 0 <= world.clock.wall_ms() - world.steady.passed_ms() <= 1_000


def test_it_is_noted_only_when_something_has_changed(world: World) -> None:
    assert world.note()
    assert not world.note()
    world.clock.advance(30)
    assert not world.note()
    world.clock.step_wall(1_000)
    assert world.note()


def test_asking_often_is_free(world: World) -> None:
    batch = Batch()
    assert world.steady.note(batch)
    world.clock.step_wall(5_000)
    assert not world.steady.note(batch)
    world.clock.advance(1.1)
    assert world.steady.note(batch)


# Machines that tell how long they have been running


@pytest.fixture
def telling() -> World:
    return World(tells_boot=True)


@pytest.mark.parametrize("step_ms", [-86_400_000, -1, 0, 1, 86_400_000])
def test_over_the_death_of_a_process_it_goes_on_exactly_whatever_the_wall_clock_does(
    telling: World, step_ms: int
) -> None:
    """Even if the step was never noted: the process died in the same moment."""
    telling.note()
    before = telling.steady.passed_ms()
    telling.clock.advance(7)
    telling.clock.step_wall(step_ms)
    telling.start()
    assert telling.steady.passed_ms() == before + 7_000


def test_a_machine_that_does_not_tell_takes_such_a_step_for_time(world: World) -> None:
    world.note()
    before = world.steady.passed_ms()
    world.clock.step_wall(86_400_000)
    world.start()
    assert world.steady.passed_ms() > before + 86_000_000


def test_many_deaths_of_processes_add_up_to_nothing(telling: World) -> None:
    telling.clock.advance(0.0007)
    telling.note()
    before = telling.steady.now().steady
    for _ in range(100):
        telling.start()
        telling.note()
    assert telling.steady.now().steady == before


@pytest.mark.parametrize("while_up", [True, False])
def test_time_passes_while_the_machine_is_suspended(telling: World, while_up: bool) -> None:
    telling.note()
    before = telling.steady.passed_ms()
    telling.clock.sleep_ms(60_000)
    if not while_up:
        telling.start()
    assert telling.steady.passed_ms() == before + 60_000


@pytest.mark.parametrize("step_ms", [-86_400_000, 0, 86_400_000])
def test_over_a_restart_of_the_machine_it_goes_on_by_the_wall_clock(telling: World, step_ms: int) -> None:
    telling.clock.advance(3)
    telling.clock.step_wall(step_ms)
    telling.note()
    before = telling.steady.passed_ms()
    telling.clock.reboot(away_ms=5_000)
    telling.start()
    assert before + 5_000 - 25 <= telling.steady.passed_ms() <= before + 5_000
    # From its first note on, the new run of the machine is measured exactly.
    telling.note()
    after = telling.steady.passed_ms()
    telling.clock.step_wall(3_600_000)
    telling.start()
    assert telling.steady.passed_ms() == after


def test_a_run_of_the_machine_that_seems_to_have_gone_backwards_undoes_no_time(telling: World) -> None:
    """A machine that was restored from an image, and its database was not."""
    telling.clock.advance(100)
    telling.note()
    before = telling.steady.passed_ms()
    telling.clock.sleep_ms(-50_000)
    telling.start()
    assert telling.steady.passed_ms() == before
