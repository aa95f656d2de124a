"""Recorded conversations: the pages in `docs/transcripts` are what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from minihs.http.dialects.table import NAMES
from minihs.lab.conversations import STORIES

FOLDER = Path(__file__).parents[2] / "docs" / "transcripts"


def test_every_dialect_has_a_story_and_every_page_a_dialect() -> None:
    assert tuple(STORIES) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted(NAMES)


@pytest.mark.parametrize("yields", [False, True])
@pytest.mark.parametrize("name", STORIES)
def test_a_page_is_what_happens(name: str, yields: bool) -> None:
    """Also when every read of the store gives control away to others for some turns."""
    page = STORIES[name](yields=yields).page()
    assert (FOLDER / f"{name}.md").read_text(encoding="utf-8") == page, "run scripts/transcripts"
    assert "500\n" not in page


@pytest.mark.parametrize("name", STORIES)
def test_a_page_holds_nothing_that_is_random(name: str) -> None:
    """Tokens, IDs of events and of rooms have names; a second run gives the same page."""
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    words = [word for line in page.splitlines() for word in line.replace('"', " ").split()]
    assert [word for word in words if word.startswith("$") and not word.startswith(KNOWN)] == []
    assert "!room" in page
    assert ":hs1/" not in page.replace("@alice:hs1", "").replace("@bob:hs1", "")


KNOWN = ("$EVENT_", "$m.send_now.event_id", "$nothing")
