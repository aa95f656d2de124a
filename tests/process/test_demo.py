"""`minihs demo` as somebody runs it: the story holds, and nothing of it is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process


def test_the_demo_tells_its_story_and_clears_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "minihs", "demo"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    promises = re.search(r"All (\d+) promises held", done.stdout)
    assert promises is not None
    assert int(promises[1]) == done.stdout.count("✓") > 20
    assert list(tmp_path.iterdir()) == []
