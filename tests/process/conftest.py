"""A stage for each test, and one server on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minihs.processes import ServerProcess
from tests.support.peers import Cast
from tests.support.processes import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def server(stage: Stage) -> ServerProcess:
    """A server of ours that has not been started yet."""
    return stage.minihs("minihs")


@pytest.fixture
def cast() -> Iterator[Cast]:
    with Cast() as cast:
        yield cast
