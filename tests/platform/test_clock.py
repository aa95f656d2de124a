"""What the machine tells of its clocks."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from minihs.platform.clock import ReactorClock, VirtualClock

THE_SAME_ELSEWHERE = """
from types import SimpleNamespace
from minihs.platform.clock import ReactorClock
boot = ReactorClock(SimpleNamespace()).boot()
print(boot.id, boot.elapsed_ms, sep="|")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_every_process_is_told_the_same_run_of_the_machine_and_it_goes_on() -> None:
    clock = ReactorClock(SimpleNamespace())
    before = clock.boot()
    told = subprocess.run(
        [sys.executable, "-c", THE_SAME_ELSEWHERE], capture_output=True, text=True, check=True
    ).stdout.split("|")
    after = clock.boot()
    assert before is not None
    assert after is not None
    assert before.id == told[0] == after.id
    assert before.elapsed_ms < float(told[1]) < after.elapsed_ms


def test_a_suspended_machine_moves_all_clocks_but_the_monotonic_one() -> None:
    clock = VirtualClock(tells_boot=True)
    clock.advance(1)
    wall_ms, monotonic_ms, boot = clock.wall_ms(), clock.monotonic_ms(), clock.boot()
    assert boot is not None
    clock.sleep_ms(5_000)
    assert (clock.wall_ms() - wall_ms, clock.monotonic_ms() - monotonic_ms) == (5_000, 0)
    assert clock.boot() == boot._replace(elapsed_ms=boot.elapsed_ms + 5_000)


def test_a_restarted_machine_has_another_run() -> None:
    clock = VirtualClock(tells_boot=True)
    first = clock.boot()
    clock.advance(1)
    clock.reboot(away_ms=500)
    second = clock.boot()
    assert first is not None
    assert second is not None
    assert (second.id != first.id, second.elapsed_ms) == (True, 0)
    assert clock.wall_ms() == VirtualClock().wall_ms() + 1_500
    assert VirtualClock().boot() is None
