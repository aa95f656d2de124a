"""Recorded conversations: for every dialect, what is asked and answered, and what the room shows and when.

`scripts/transcripts` writes them to `docs/transcripts`; a test compares. `recording` makes the pages, the
other modules hold the stories.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from minihs.lab.conversations.accepted import delay_query, merged, msc4309, msc4486
from minihs.lab.conversations.drafts import batch, future_id, tokens, tokens_on_send, will_expire
from minihs.lab.conversations.recording import Conversation


class Story(Protocol):
    """Plays a story in a world of its own; `yields` is as in `World`."""

    def __call__(self, *, yields: bool = False) -> Conversation: ...


STORIES: Mapping[str, Story] = MappingProxyType(
    {
        "will-expire": will_expire,
        "batch": batch,
        "tokens": tokens,
        "tokens-on-send": tokens_on_send,
        "future-id": future_id,
        "delay-query": delay_query,
        "merged": merged,
        "msc4486": msc4486,
        "msc4309": msc4309,
    }
)
"""A story for each dialect; the page of one is `docs/transcripts/NAME.md`."""
