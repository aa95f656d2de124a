"""What is stored together with an event or not at all: rows of whoever asked for it, the future that it was.

Whatever way an event takes (made here, or with another server's help), what goes with it is in its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from minihs.events.event import Event
from minihs.store.writer import Batch

Also = Callable[[Batch, Event], None]
"""Adds rows that are stored together with an event or not at all. When it raises, the event is not stored."""


class Along(msgspec.Struct, frozen=True):
    """What goes with an event: `also` its rows, `delay_id` of the future that it was (its sender sees it);
    `was_future` is for a judge to whom that makes a difference."""

    also: Also
    delay_id: str | None = None
    was_future: bool = False
