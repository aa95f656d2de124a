"""Every test here runs with a store that answers inline and with one that really waits."""

from __future__ import annotations

import pytest

from tests.support.federated import FederatedServer


@pytest.fixture(params=[None, 1], ids=["inline", "waiting"], autouse=True)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of store that servers are opened with."""
    monkeypatch.setattr(FederatedServer, "yield_seed", request.param)
