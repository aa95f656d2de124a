"""The conformance page says what the server does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_lists_what_the_routes_are() -> None:
    check = [sys.executable, ROOT / "scripts" / "conformance", "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    named = {part for line in page.splitlines() for part in line.split("`") if part.startswith("tests/")}
    assert named
    assert all((ROOT / name).exists() for name in named)
