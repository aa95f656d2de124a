"""The listing of MSC4486: filters, both directions, and pages that stay whole. Futures specification, 2.7.

A page's token says up to which time of sending futures were shown, when the first page was made, and which
were shown that may turn up again: a restart moves a future to a later time, past the place or from behind it,
and wipes out where it was, so that no place alone could say whether it was shown.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

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
MAX_SHOWN = 1_500
"""Futures that a token remembers, so that it fits into a request's first line."""

MAX_TOKEN_LENGTH = 12_000
MAX_TS = 2**53 - 1
_TS_DIGITS = 16


class _Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a listing goes on: behind `send_ts`, or in the second round behind the mark `stray`.

    `shown` is marks without a separator. When there are too many of them (`is_full`), what moves is left to a
    second round over everything that has moved: some futures are then shown twice, and none is left out.
    """

    direction: str
    send_ts: int
    began_ms: int
    shown: bytes
    is_full: bool = False
    stray: str | None = None


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
        wanted = ListingQuery(
            owner=request.user.user_id,
            dialects=WITH_DELAY_ID,
            limit=PAGE + 1,
            room_id=_room_id(query),
            type=_one(query, "type"),
            status=_choice(query, "status", tuple(STATUSES)),
            from_ts=_timestamp(query, "from_ts"),
            to_ts=_timestamp(query, "to_ts"),
            backwards=direction == "b",
        )
        if place is None:
            first_ts = MAX_TS if wanted.backwards else 0
            place = _Place(direction, first_ts, self._listing.begins(), b"")
            page = await self._listing.page(wanted)
        else:
            page = await self._listing.page(_goes_on(wanted, place))
        reply: dict[str, Any] = {"delayed_events": [lookup_shape(one.stored) for one in page[:PAGE]]}
        following = _following(place, page)
        if following is not None:
            reply["next_batch"] = _write(following)
            if request.path.startswith(UNSTABLE):
                reply[f"{PREFIX}next_batch"] = reply["next_batch"]
        return reply


def _goes_on(wanted: ListingQuery, place: _Place) -> ListingQuery:
    return replace(
        wanted,
        place=place.send_ts,
        moved_since=Millis(place.began_ms),
        moved=not place.is_full,
        shown=_marks(place.shown),
        after_mark=place.stray,
    )


def _following(place: _Place, page: Sequence[ListedFuture]) -> _Place | None:
    """The place behind a page of up to one more than it shows; None behind the last."""
    if len(page) <= PAGE:
        begins_second_round = place.is_full and place.stray is None
        return replace(place, stray="") if begins_second_round else None
    page = page[:PAGE]
    if place.stray is not None:
        return replace(place, stray=page[-1].mark)
    # A page of nothing but futures that have moved does not lead back.
    send_ts = (min if place.direction == "b" else max)(page[-1].send_ts, place.send_ts)
    again = b"".join(bytes.fromhex(one.mark) for one in page if _may_turn_up_again(one, place, send_ts))
    shown, most = place.shown + again, MAX_SHOWN * SHOWN_BYTES
    is_full = place.is_full or len(shown) > most
    return replace(place, send_ts=send_ts, shown=shown[-most:], is_full=is_full)


def _may_turn_up_again(one: ListedFuture, place: _Place, send_ts: int) -> bool:
    future = one.stored.future
    return future.outcome is None or future.started_ms >= place.began_ms or one.send_ts == send_ts


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
    if not (0 <= place.send_ts <= MAX_TS and 0 <= place.began_ms <= MAX_TS):
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
