"""One page of a user's futures, scheduled and finalised, by when each is or was to be sent.

Which future belongs on a page when some are restarted meanwhile is decided by whoever asks (`ListingQuery`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import UserID
from minihs.futures.model import Millis
from minihs.store.future_rows import (
    CANCELLED,
    COLUMNS,
    FAILED,
    SENT,
    StoredFuture,
    stored_future,
)
from minihs.store.reader import Reader

STATUSES = {"scheduled": None, "sent": SENT, "cancelled": CANCELLED, "failed": FAILED}
"""A status as it is asked for, and as the column `outcome` has it."""

SHOWN_BYTES = 5
"""Of the hash of a delay ID: enough to tell a user's futures apart."""

_SEND_TS = "COALESCE(future_timers.since_ts, futures.since_ts) + futures.timeout_ms"
_STARTED = "COALESCE(future_timers.started_ms, futures.started_ms)"
_MARK = f"lower(hex(substr(id_hash, 1, {SHOWN_BYTES})))"

_encode = msgspec.json.Encoder().encode


class ListingQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. None means that everything passes.

    `from_ts` and `to_ts` (Unix milliseconds, inclusive) bound the time of sending. What was finalised at
    `kept_after` or before is not shown any more; neither is what has its mark in `shown`. A future has moved
    when its timer started at `moved_since` (steady clock) or later. A page behind `place` holds what is not
    before it (not behind it, `backwards`), and, if `moved` says so, what has moved, wherever it is now;
    otherwise none of that. With `after_mark` a page holds what has moved alone, behind that mark.
    """

    owner: UserID
    dialects: Sequence[str]
    limit: int
    room_id: str | None = None
    type: str | None = None
    status: str | None = None
    from_ts: int | None = None
    to_ts: int | None = None
    backwards: bool = False
    place: int | None = None
    moved_since: Millis | None = None
    shown: Sequence[str] = ()
    moved: bool = True
    after_mark: str | None = None
    kept_after: int = -1


class ListedFuture(msgspec.Struct, frozen=True):
    """A future, when it is or was to be sent, and the mark by which it is known to have been shown."""

    stored: StoredFuture
    send_ts: int
    mark: str


class FutureListingStore:
    """Reads pages."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all_listed(self, query: ListingQuery) -> list[ListedFuture]:
        """The page, in order of the time of sending; equal times in order of scheduling."""
        conditions, values = _conditions(query)
        direction = "DESC" if query.backwards else "ASC"
        order = f"send_ts {direction}, futures.future_id {direction}"
        if query.after_mark is not None:
            order = "mark, futures.future_id"
        # Contents are large: they are read for the page alone, not for everything that is sorted.
        rows = await self._reader.all(
            f"WITH page AS (SELECT futures.future_id, {_SEND_TS} AS send_ts, {_MARK} AS mark"
            " FROM futures LEFT JOIN future_timers USING (future_id) WHERE futures.future_id IN"
            " (SELECT future_id FROM futures WHERE owner = :owner AND outcome IS NULL UNION ALL"
            " SELECT future_id FROM futures WHERE owner = :owner AND outcome IS NOT NULL"
            "   AND finalised_ts > :kept_after)"
            f" AND {' AND '.join(conditions)}"
            f" ORDER BY {order} LIMIT :limit) SELECT {COLUMNS}, send_ts, mark, payload"
            " FROM page CROSS JOIN futures USING (future_id) LEFT JOIN future_timers USING (future_id)"
            f" ORDER BY {order}",
            values,
        )
        return [ListedFuture(stored_future(row), row[-3], row[-2]) for row in rows]


def _conditions(query: ListingQuery) -> tuple[list[str], dict[str, object]]:
    conditions = ["dialect IN (SELECT value FROM json_each(:dialects))"]
    values: dict[str, object] = {
        "owner": query.owner,
        "dialects": _encode(list(query.dialects)).decode(),
        "limit": query.limit,
        "kept_after": query.kept_after,
    }
    for condition, value in (
        ("room_id = :room_id", query.room_id),
        ("type = :type", query.type),
        (f"{_SEND_TS} >= :from_ts", query.from_ts),
        (f"{_SEND_TS} <= :to_ts", query.to_ts),
    ):
        if value is not None:
            conditions.append(condition)
            values[condition.rpartition(":")[2]] = value
    if query.status is not None:
        conditions.append("outcome IS :outcome")
        values["outcome"] = STATUSES[query.status]
    if query.after_mark is not None:
        conditions += [f"{_STARTED} >= :moved_since", f"{_MARK} > :after_mark"]
    elif query.place is not None:
        beyond = f"{_SEND_TS} {'<=' if query.backwards else '>='} :place"
        if query.moved:
            conditions.append(f"({beyond} OR {_STARTED} >= :moved_since)")
        else:
            conditions += [beyond, f"{_STARTED} < :moved_since"]
    if query.shown:
        conditions.append(f"{_MARK} NOT IN (SELECT value FROM json_each(:shown))")
    values.update(
        place=query.place,
        moved_since=query.moved_since,
        after_mark=query.after_mark,
        shown=_encode(list(query.shown)).decode(),
    )
    return conditions, values
