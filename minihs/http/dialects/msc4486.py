"""The listing of MSC4486: filters, both directions, and pages that stay whole. Futures specification, 2.7.

A page's token says up to which time of sending futures were shown, when the first page was made, and which
were shown that may turn up again: a restart moves a future to a later time, past the place or from behind it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from minihs.events.ids import InvalidIdentifier, parse_room_id
from minihs.futures.model import Millis
from minihs.homeserver.futures.listing import FutureListing
from minihs.http.dialects.base import Endpoint, QuietDialect
from minihs.http.dialects.management import WITH_DELAY_ID
from minihs.http.dialects.merged import lookup_shape
from minihs.http.dialects.parameters import given, invalid
from minihs.http.dialects.spelling import C
from minihs.http.request import ApiRequest, Query
from minihs.http.routing import Access
from minihs.store.future_listing import SHOWN_BYTES, STATUSES, ListedFuture, ListingQuery

STABLE = f"{C}/v1/delayed_events"
UNSTABLE = f"{C}/unstable/org.matrix.msc4486/delayed_events"
PREFIX = "org.matrix.msc4486."

PAGE = 100
MAX_SHOWN = 1_000
"""Futures that a token remembers. Of more, the first ones may be shown twice; none is ever left out."""

MAX_TOKEN_LENGTH = 4 * MAX_SHOWN * SHOWN_BYTES
MAX_TS = 2**53 - 1
_TS_DIGITS = 16


class _Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a listing goes on; `shown` is marks without a separator."""

    direction: str
    send_ts: int
    began_ms: int
    shown: bytes


class Msc4486(QuietDialect):
    """Lists the futures that their owner knows by a delay ID."""

    name = "msc4486"

    def __init__(self, *, listing: FutureListing) -> None:
        self._listing = listing

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="GET", paths=(STABLE, UNSTABLE), access=Access.USER, handler=self.list, limit="read"
            ),
        )

    def unstable_features(self) -> Mapping[str, bool]:
        return {"org.matrix.msc4486": True}

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        """`GET {C}/v1/delayed_events`."""
        query = request.query
        direction = _choice(query, "dir", ("f", "b")) or "f"
        token = _one(query, "from")
        place = None if token is None else _read(token, direction)
        began_ms = self._listing.begins() if place is None else Millis(place.began_ms)
        shown = () if place is None else _marks(place.shown)
        page = await self._listing.page(
            ListingQuery(
                owner=request.user.user_id,
                dialects=WITH_DELAY_ID,
                limit=PAGE + 1,
                room_id=_room_id(query),
                type=_one(query, "type"),
                status=_choice(query, "status", tuple(STATUSES)),
                from_ts=_timestamp(query, "from_ts"),
                to_ts=_timestamp(query, "to_ts"),
                backwards=direction == "b",
                place=None if place is None else place.send_ts,
                moved_since=began_ms,
                shown=shown,
            )
        )
        reply: dict[str, Any] = {"delayed_events": [lookup_shape(one.stored) for one in page[:PAGE]]}
        if len(page) > PAGE:
            following = _write(_following(direction, place, began_ms, shown, page[:PAGE]))
            reply["next_batch"] = following
            if request.path.startswith(UNSTABLE):
                reply[f"{PREFIX}next_batch"] = following
        return reply


def _following(
    direction: str,
    place: _Place | None,
    began_ms: int,
    shown: Sequence[str],
    page: Sequence[ListedFuture],
) -> _Place:
    """The place behind a page."""
    send_ts = page[-1].send_ts
    if place is not None:  # a page of nothing but moved ones does not lead back
        send_ts = (min if direction == "b" else max)(send_ts, place.send_ts)
    again = [
        one.mark
        for one in page
        if one.stored.future.outcome is None
        or one.stored.future.started_ms >= began_ms
        or one.send_ts == send_ts
    ]
    return _Place(direction, send_ts, began_ms, bytes.fromhex("".join([*shown, *again][-MAX_SHOWN:])))


def _write(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode("ascii").rstrip("=")


def _read(token: str, direction: str) -> _Place:
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise _bad_token()
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        place = msgspec.msgpack.decode(raw, type=_Place)
    except (binascii.Error, msgspec.DecodeError):
        raise _bad_token() from None
    if place.direction != direction:
        raise invalid("`from` is of a listing in the other direction: give the same `dir`.")
    if not (0 <= place.send_ts <= 2 * MAX_TS and 0 <= place.began_ms <= MAX_TS):
        raise _bad_token()
    return place


def _bad_token() -> Exception:
    return invalid("`from` must be the `next_batch` of an earlier page.")


def _marks(shown: bytes) -> tuple[str, ...]:
    return tuple(shown[at : at + SHOWN_BYTES].hex() for at in range(0, len(shown), SHOWN_BYTES))


def _one(query: Query, name: str) -> str | None:
    return given(query, name, PREFIX + name)


def _choice(query: Query, name: str, choices: tuple[str, ...]) -> str | None:
    value = _one(query, name)
    if value is not None and value not in choices:
        raise invalid(f"`{name}` must be one of {', '.join(choices)}.")
    return value


def _timestamp(query: Query, name: str) -> int | None:
    text = _one(query, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _TS_DIGITS and int(text) <= MAX_TS):
        raise invalid(f"`{name}` must be a Unix timestamp in milliseconds.")
    return int(text)


def _room_id(query: Query) -> str | None:
    text = _one(query, "room_id")
    if text is None:
        return None
    try:
        return parse_room_id(text)
    except InvalidIdentifier as refusal:
        raise invalid(f"`room_id`: {refusal}.") from refusal
