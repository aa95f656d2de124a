"""The parameters of `timestamp_to_event`, which both APIs share: a moment and a direction."""

from __future__ import annotations

from minihs.events.canonical import MAX_INTEGER
from minihs.federation.remote_lookups import Direction
from minihs.http.errors import MatrixError
from minihs.http.request import Query


def timestamp_of(query: Query) -> int:
    """`ts`, in milliseconds since 1970."""
    query.required("ts")
    moment = query.integer("ts", minimum=-MAX_INTEGER, maximum=MAX_INTEGER)
    return 0 if moment is None else moment


def direction_of(query: Query) -> Direction:
    """`dir`: forwards or backwards."""
    match query.choice("dir", ("f", "b")):
        case "f":
            return "f"
        case "b":
            return "b"
    raise MatrixError(400, "M_MISSING_PARAM", "The query parameter `dir` is missing: use b or f.")
