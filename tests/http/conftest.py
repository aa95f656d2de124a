"""Fixtures of the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher


@pytest.fixture
def logged_failures() -> Iterator[list[Any]]:
    """Every failure that is logged during the test."""
    events: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
