"""Settings of the whole suite: Hypothesis without wall-clock limits, since machines differ and are shared.

`--yielding SEED` runs it with a store that really waits (see `tests.support.yielding_suite`).
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.support.yielding_suite import YieldingSuite

settings.register_profile("minihs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("minihs")

_suite = pytest.StashKey[YieldingSuite]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--yielding", type=int, metavar="SEED", help="let every read wait, in an order by SEED")


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--yielding")
    if seed is not None:
        config.stash[_suite] = YieldingSuite(seed)
        config.stash[_suite].install()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _suite not in config.stash:
        return
    skip = pytest.mark.skip(reason="about a store that answers inline")
    for item in items:
        # Crashes are played again from records of single writes.
        if item.get_closest_marker("inline_store") or "crash" in item.path.relative_to(config.rootpath).parts:
            item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    suite = item.config.stash.get(_suite, None)
    if suite is not None:
        suite.begin(str(item.path), item.nodeid)
