"""What becomes of an event whose sender puts it off again and again, and of the sender's server meanwhile.

A part of `msc3277_vs_futures`: resilience with interaction. `scheduled_fates` has it without.
"""

from __future__ import annotations

import msgspec

from minihs.lab.evidence import Watch
from minihs.lab.experiments.put_off import Held, Way, beat, put_off
from minihs.lab.experiments.scheduled_fates import DELAY_MS, Scene, scene
from minihs.lab.report import Report

CHAPTER = "Put off again every minute"
MINUTE_MS = 60_000
BEATS = 3
"""Heartbeats before something goes wrong, one a minute; the event is due ten minutes after the last."""


class Upkeep(msgspec.Struct, frozen=True):
    """Whether the event is shown when it should be, and not when it should not."""

    on_time: bool
    """Its sender's server dies after a heartbeat: shown elsewhere when it is due."""
    in_the_end: bool
    """And once that server is back."""
    mistaken: bool
    """Servers are apart: shown elsewhere although its sender goes on putting it off."""
    stays: bool
    """And still to be read there when they are together again."""


def kept_up(report: Report, seed: int, way: Way) -> Upkeep:
    """Each trouble in a world of its own."""
    here = scene(f"{seed} kept up, then dead {way.title}", way)
    watch = Watch(here.world, here.room_id)
    _beats(here, way, here.world.run(put_off(here.alice, way, here.plan())), BEATS)
    here.world["hs1"].crash()
    here.world.advance(ms=DELAY_MS + MINUTE_MS)
    on_time = bool(here.texts(here.bob))
    here.world["hs1"].start()
    here.world.advance(minutes=5)
    in_the_end = bool(here.texts(here.bob))
    found = f"Bob of hs2 sees it {'on time' if on_time else 'when hs1 is back'}"
    report.show_case(watch.ends(f"{CHAPTER}, then hs1 dies", way.title, found, on_page=False))
    here.world.stop()

    here = scene(f"{seed} kept up, apart {way.title}", way)
    watch = Watch(here.world, here.room_id)
    held = _beats(here, way, here.world.run(put_off(here.alice, way, here.plan())), BEATS)
    here.world.partition(["hs1"], ["hs2", "hs3"])
    held = _beats(here, way, held, 2 * DELAY_MS // MINUTE_MS)
    mistaken = bool(here.texts(here.bob))
    here.world.heal()
    _beats(here, way, held, BEATS)
    stays = bool(here.texts(here.bob))
    found = f"Bob of hs2 {'sees it though it was put off' if mistaken else 'is not shown it'}"
    report.show_case(watch.ends(f"{CHAPTER}, hs1 apart from the others", way.title, found))
    here.world.stop()
    return Upkeep(on_time, in_the_end, mistaken, stays)


def _beats(here: Scene, way: Way, held: Held, count: int) -> Held:
    for _ in range(count):
        here.world.advance(ms=MINUTE_MS)
        held = here.world.run(beat(here.alice, way, here.plan(), held))
    here.world.settle()
    return held
