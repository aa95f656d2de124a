"""`kill -9` of a real server at every step that makes something durable, and around every reply.

Futures specification, 1, promises 4, 5, 6 and 11.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

import pytest

from tests.crash.grounds import Beginning, Ground, Run
from tests.crash.stories import STORIES, Story, a_group_is_due, look

pytestmark = pytest.mark.process

AROUND_REPLIES = "before the reply is written", "after the reply is written", "after the reply has left"

SIDE_BY_SIDE = 3
"""Runs at a time: each waits more than it works."""


@pytest.fixture(scope="module")
def more_grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ground]]:
    with ExitStack() as ending:
        made = []
        for _ in range(SIDE_BY_SIDE - 1):
            made.append(Ground(tmp_path_factory.mktemp("ground")))
            ending.callback(made[-1].close)
        yield made


@pytest.mark.parametrize("step", ["before COMMIT", "after COMMIT"])
@pytest.mark.parametrize("table", ["futures", "events"])
def test_a_kill_beside_a_commit_breaks_no_promise(ground: Ground, table: str, step: str) -> None:
    begins = f"before INSERT INTO {table}"
    run = ground.run(a_group_is_due, [begins, step], cold=table == "events")
    assert run.died
    assert run.steps[-1] == step


@pytest.mark.full
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_no_kill_at_any_step_breaks_a_promise(
    story: Story, ground: Ground, more_grounds: list[Ground]
) -> None:
    kill_at_every_step(story, dict.fromkeys((ground, *more_grounds)))


@pytest.mark.full
def test_no_kill_while_catching_up_breaks_a_promise(ground: Ground, more_grounds: list[Ground]) -> None:
    kill_at_every_step(look, {each: each.overdue() for each in (ground, *more_grounds)})


def kill_at_every_step(story: Story, grounds: dict[Ground, Beginning | None]) -> None:
    """Let the story happen again and again, and kill the server one step later each time, until it lives."""
    free: SimpleQueue[Ground] = SimpleQueue()
    for each in grounds:
        free.put(each)

    def dies_at(step: int | list[str] | None) -> Run:
        ground = free.get()
        try:
            return ground.run(story, step, beginning=grounds[ground])
        finally:
            free.put(ground)

    unharmed = dies_at(None)
    assert not unharmed.died
    died: list[str] = []
    numbers = itertools.count(1)
    with ThreadPoolExecutor(len(grounds)) as pool:
        while True:
            runs = list(pool.map(dies_at, itertools.islice(numbers, len(grounds))))
            died += [run.steps[-1] for run in runs if run.died]
            if not any(run.died for run in runs):
                break
        # How many steps there are depends on the clock: what a machine had time for once may come no more.
        rare = sorted({*unharmed.steps} - {*died})
        died += [run.steps[-1] for run in pool.map(dies_at, [[step] for step in rare]) if run.died]
    print(f"{story.__name__}: {len(died)} kills; {len(unharmed.steps)} steps when it lived")
    assert {"before COMMIT", "after COMMIT", *AROUND_REPLIES} <= {*died}, "not every kind of step was seen"
