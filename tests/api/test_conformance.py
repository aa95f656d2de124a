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
    named = {
        part
        for line in page.splitlines()
        for part in line.split("`")
        if part.startswith("tests/") and ".py" in part
    }
    assert named
    absent = []
    for name in sorted(named):
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        if not text or (function and f"def {function}(" not in text):
            absent.append(name)
    assert absent == []
