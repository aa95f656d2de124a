"""Size limits of events and the errors for those that break them.

Answers to "Size limits" in the client-server API and the event formats of the room versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.json import Encoder

MAX_PDU_BYTES = 65_536
"""Of the canonical JSON with signatures; client-server API, "Size limits"."""

MAX_KEY_BYTES = 255
"""Of `type` and `state_key`; client-server API, "Size limits"."""

MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10
"""Room version 3, "Event format"."""

MAX_DEPTH = 2**53 - 1
MAX_LOOSE_DEPTH = 2**63 - 1
"""Of the `depth` field since v6, and before; "Event format"."""


class InvalidEvent(ValueError):
    """Something that cannot be an event of its room version; the message says what is wrong with it."""


class EventTooLarge(InvalidEvent):
    """An event over one of the size limits."""


# Sorting changes no length, so the unsorted encoding measures the canonical one.
_measure = Encoder().encode


def check_size(pdu: Mapping[str, Any]) -> None:
    """Refuse a signed PDU (without `unsigned`) whose canonical JSON exceeds `MAX_PDU_BYTES`."""
    size = len(_measure(pdu))
    if size > MAX_PDU_BYTES:
        raise EventTooLarge(f"the event has {size} bytes, the limit is {MAX_PDU_BYTES}")


def check_key(name: str, text: str) -> None:
    """Refuse a `type` or `state_key` of more than `MAX_KEY_BYTES` bytes."""
    # No UTF-8 character takes more than four bytes.
    if len(text) > MAX_KEY_BYTES // 4 and len(text.encode()) > MAX_KEY_BYTES:
        raise EventTooLarge(f"{name} has more than {MAX_KEY_BYTES} bytes")


def check_links(prev_events: Sequence[object], auth_events: Sequence[object]) -> None:
    """Refuse an event with more links than events may have."""
    if len(prev_events) > MAX_PREV_EVENTS:
        raise InvalidEvent(f"prev_events has more than {MAX_PREV_EVENTS} entries")
    if len(auth_events) > MAX_AUTH_EVENTS:
        raise InvalidEvent(f"auth_events has more than {MAX_AUTH_EVENTS} entries")
