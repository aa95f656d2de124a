"""`docs/settings.md` says what `minihs/config.py` says, and both say what the program does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from minihs.cli.serve import serve
from minihs.config import setting_names
from minihs.http.limits import DEFAULT_LIMITS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "settings-page"))


def test_the_page_is_up_to_date(script: dict[str, Any]) -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == script["page"](), "run scripts/settings-page"


def test_every_setting_and_every_limit_has_a_row_with_a_sentence(script: dict[str, Any]) -> None:
    rows = re.findall(r"^## `\[(\w+)\]`|^\| `(\w+)` \| .* \| (.*) \|$", script["page"](), re.MULTILINE)
    section, found, limits = "", [], []
    for heading, name, sentence in rows:
        section = heading or section
        if name in DEFAULT_LIMITS:
            limits.append(name)
            assert sentence
        elif name:
            found.append(f"{section}.{name}")
            assert sentence.endswith("."), name
    assert found == setting_names()
    assert limits == list(DEFAULT_LIMITS)


def test_every_flag_of_serve_is_on_the_page(script: dict[str, Any]) -> None:
    flags = {flag.partition(" ")[0] for flag in script["FLAGS"].values()}
    options = {option.opts[0] for option in serve.params} - {"--config", "--set", "--lab", "--lab-listen"}
    assert flags == options
    assert set(script["FLAGS"]) <= set(setting_names())


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_is_read_somewhere(name: str) -> None:
    """A setting that nothing reads would be a promise that nobody keeps."""
    modules = [path for path in sorted((ROOT / "minihs").rglob("*.py")) if path.name != "config.py"]
    read = "config.server_name" if name == "server.name" else f"config.{name}"
    assert any(read in path.read_text() for path in modules)
