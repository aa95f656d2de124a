"""Several clients do whatever comes to their minds, a real server is killed whenever, and starts again.

Runs for less than two minutes, or for as long as MINIHS_CRASH_SECONDS says. MINIHS_CRASH_SEED repeats the
choices of a campaign, but not its moments: these are the machine's.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.crash.comeback import all_is_over, gather_evidence, repeat_requests
from tests.crash.grounds import Ground
from tests.crash.hands import Gone, Hand
from tests.crash.ledger import Act, Ledger
from tests.crash.promises import check
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

SECONDS = int(os.environ.get("MINIHS_CRASH_SECONDS", "100"))
SEED = os.environ.get("MINIHS_CRASH_SEED", str(time.time_ns()))
HANDS = 4
LIVES = 3
"""So often a server starts in one round; it is killed as often."""

ACTIONS = (Act.RESTART, Act.RESTART, Act.RESTART, Act.CANCEL, Act.SEND)


def act_at_random(hand: Hand, random: Random, ends: float) -> None:
    """One client: schedules futures and meddles with them, until the server or the time is gone."""
    mine: list[str] = []
    try:
        while time.monotonic() < ends:
            time.sleep(random.random() * 0.02)
            choice = random.random()
            if choice < 0.15:
                state_key = f"{hand.name} {len(mine)}" if random.random() < 0.3 else None
                mine.append(hand.schedule(random.randint(20, 900), state_key=state_key))
            elif choice < 0.25:
                group = f"group {len(mine)}"
                mine.append(hand.schedule(random.randint(100, 900), dialect="tokens", group=group))
                mine.append(hand.schedule(None, dialect="tokens", group=group))
            elif choice < 0.3:
                hand.look()
            elif known := [mark for mark in mine if hand.ledger.reply_to_schedule(mark) is not None]:
                action = random.choice(ACTIONS)
                mark = random.choice(known[-5:])
                if action is not Act.RESTART or hand.ledger.plans[mark].delay_ms is not None:
                    hand.ask(action, mark)
    except Gone:
        return


class Round:
    """Some lives of one server, on one room and one ledger."""

    def __init__(self, ground: Ground, random: Random, steps: Path) -> None:
        self._ground = ground
        self._random = random
        self._steps = steps
        self.ledger = Ledger()
        self.kills = 0

    def play(self) -> None:
        """Kill the server a few times, then let it run until all is over."""
        ground, random = self._ground, self._random
        ground.while_up(lambda: setattr(ground, "room_id", ground.new_room()))
        for life in range(LIVES):
            self._live_and_die(life)
            time.sleep(random.random() * 0.7)
        hand = ground.hand("returned", self.ledger)

        def judge() -> None:
            repeat_requests(hand, also_actions=random.random() < 0.5)
            until(lambda: all_is_over(hand), "the end of all futures")
            check(self.ledger, gather_evidence(hand))

        ground.while_up(judge)
        ground.check_data()

    def _live_and_die(self, life: int) -> None:
        ground, random = self._ground, self._random
        at_a_step = random.random() < 0.5
        plan: dict[str, object] = {"kind": "plain"}
        if at_a_step:
            plan = {"kind": "steps", "steps": str(self._steps), "dies_at": random.randint(1, 400)}
        pid = ground.nursery.start(ground.server, **plan)
        self.kills += 1
        if pid is None:
            return
        hands = [ground.hand(f"{life}{letter}", self.ledger) for letter in "abcd"[:HANDS]]
        seeds = [random.random() for _ in hands]
        ends = time.monotonic() + (1.0 if at_a_step else random.random())
        with ThreadPoolExecutor(HANDS) as pool:
            working = [
                pool.submit(act_at_random, hand, Random(seed), ends + 0.1)
                for hand, seed in zip(hands, seeds, strict=True)
            ]
            time.sleep(max(0.0, ends - time.monotonic()))
            ground.nursery.kill(pid)  # if it has not died of its own accord
        for work in working:
            work.result()


def test_no_kill_at_any_moment_breaks_a_promise(tmp_path: Path) -> None:
    random = Random(SEED)
    ground = Ground(tmp_path)
    ends = time.monotonic() + SECONDS
    rounds = kills = requests = 0
    try:
        while time.monotonic() < ends:
            game = Round(ground, random, tmp_path / f"steps.{rounds}")
            try:
                game.play()
            except AssertionError as error:
                raise AssertionError(f"seed {SEED}, round {rounds}: {error}") from error
            rounds += 1
            kills += game.kills
            requests += len(game.ledger.requests)
    finally:
        ground.close()
    print(f"{rounds} rounds, {kills} kills, {requests} requests")
    assert rounds
