"""What is asked for when a future is scheduled, and the checks that need no room.

What could never be an event is refused here; what could be is judged when it is sent.
Futures specification, 1, promise 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.events import canonical
from minihs.events.ids import RoomID, ServerName, UserID
from minihs.events.limits import MAX_PDU_BYTES, EventTooLarge, check_key
from minihs.futures.model import CancelRule
from minihs.homeserver.errors import BadContent, InvalidParam, TooLarge
from minihs.homeserver.futures.errors import DelayTooLarge
from minihs.homeserver.rooms.drafts import EventDraft

MAX_TIMEOUT_MS = 2**53 - 1
"""What JSON can carry; with no limit of delays, the end of what is a delay."""

_measure = msgspec.json.Encoder().encode


class FutureOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be sent later, as its dialect understood the request.

    `timeout_ms` is None for an action future. `tokens` are the purposes for which a token can be asked of
    it; `request` is JSON that only its dialect reads. `part` and `bound_to` are as in `model.Future`.
    """

    owner: UserID
    room_id: RoomID
    type: str
    content: dict[str, Any]
    state_key: str | None = None
    timeout_ms: int | None
    cancel_rule: CancelRule
    dialect: str
    reveals_id: bool = False
    part: str | None = None
    bound_to: tuple[str, str] | None = None
    tokens: tuple[str, ...] = ()
    sticky_duration_ms: int | None = None
    origin_server_ts: int | None = None
    request: Mapping[str, Any] = msgspec.field(default_factory=dict)


def draft_of(order: FutureOrder) -> EventDraft:
    """The event as it would be sent now."""
    return EventDraft(
        room_id=order.room_id,
        sender=order.owner,
        type=order.type,
        content=order.content,
        state_key=order.state_key,
        origin_server_ts=order.origin_server_ts,
        sticky_duration_ms=order.sticky_duration_ms,
    )


def check_order(order: FutureOrder, server_name: ServerName) -> None:
    """Refuse what can be no event in any room: InvalidParam, BadContent or TooLarge."""
    if order.timeout_ms is not None:
        if order.timeout_ms <= 0:
            raise InvalidParam("The delay must be a positive number of milliseconds.")
        if order.timeout_ms > MAX_TIMEOUT_MS:
            raise DelayTooLarge(MAX_TIMEOUT_MS)
    try:
        canonical.check({"content": order.content, "type": order.type, "state_key": order.state_key})
    except canonical.NotCanonical as refused:
        raise BadContent(f"This can be no event: {refused}.") from refused
    try:
        check_key("type", order.type)
        check_key("state_key", order.state_key or "")
    except EventTooLarge as refused:
        raise InvalidParam(f"This can be no event: {refused}.") from refused
    size = len(_measure(_smallest_pdu(order, server_name)))
    if size > MAX_PDU_BYTES:
        raise TooLarge(f"The event would have at least {size} bytes, the limit is {MAX_PDU_BYTES}.")


def _smallest_pdu(order: FutureOrder, server_name: ServerName) -> dict[str, Any]:
    """The shape of the smallest PDU that could carry the event: one parent, no auth events."""
    pdu: dict[str, Any] = {
        "auth_events": [],
        "content": order.content,
        "depth": 1,
        "hashes": {"sha256": "-" * 43},
        "origin_server_ts": 10**12,
        "prev_events": ["-" * 44],
        "room_id": order.room_id,
        "sender": order.owner,
        "signatures": {server_name: {"ed25519:1": "-" * 86}},
        "type": order.type,
    }
    if order.state_key is not None:
        pdu["state_key"] = order.state_key
    return pdu
