"""A pytest plugin that writes down which file of tests calls which endpoint: `scripts/conformance --tests`.

Not loaded otherwise. It listens where a site looks for the route of a request.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from minihs.http.routing import Match, Router

FOUND = Path(__file__).parents[1] / "vectors" / "endpoint_tests.json"

calls: dict[str, set[str]] = {}


def called(method: str, path: str) -> str:
    """How an endpoint is written down: the names of its parameters do not matter."""
    return f"{method} {re.sub(r'{[^{}]*}', '{}', path)}"


def pytest_configure() -> None:
    resolve = Router.resolve

    def noted(self: Router, method: bytes, path: bytes) -> Any:
        found = resolve(self, method, path)
        if isinstance(found, Match):
            file = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
            calls.setdefault(called(found.route.method, found.route.path), set()).add(file)
        return found

    Router.resolve = noted  # type: ignore[method-assign]


def pytest_unconfigure() -> None:
    lines = {endpoint: sorted(files - {""}) for endpoint, files in sorted(calls.items())}
    FOUND.write_text(json.dumps(lines, indent=1) + "\n")
