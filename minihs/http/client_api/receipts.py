"""`POST /rooms/{roomId}/receipt/{receiptType}/{eventId}`. Source: Client-Server API, "Receipts"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.sync.read_markers import FULLY_READ, ReadMarkers
from minihs.homeserver.sync.receipts import MAIN_THREAD, RECEIPT_TYPES, Receipts
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class ReceiptBody(msgspec.Struct):
    """The body: a thread's root or `main`; without it the receipt is for the whole room."""

    thread_id: str | msgspec.UnsetType = msgspec.UNSET


class ReceiptsApi:
    """Takes receipts."""

    def __init__(self, receipts: Receipts, read_markers: ReadMarkers) -> None:
        self._receipts = receipts
        self._read_markers = read_markers

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="POST",
                path="/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}",
                access=Access.USER,
                handler=self.read,
                body=ReceiptBody,
                limit="ephemeral",
            )
        ]

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/receipt/{receiptType}/{eventId}`."""
        body: ReceiptBody = request.body
        room_id, event_id = RoomID(request.args["room_id"]), EventID(request.args["event_id"])
        receipt_type = request.args["receipt_type"]
        thread_id = None if body.thread_id is msgspec.UNSET else body.thread_id
        if receipt_type not in (*RECEIPT_TYPES, FULLY_READ):
            raise MatrixError(
                400,
                "M_INVALID_PARAM",
                "The kind of receipt must be m.read, m.read.private or m.fully_read.",
            )
        if thread_id is not None:
            if receipt_type == FULLY_READ:
                raise MatrixError(400, "M_INVALID_PARAM", "`thread_id` does not go with m.fully_read.")
            if not _is_thread_id(thread_id):
                raise MatrixError(400, "M_INVALID_PARAM", "`thread_id` must be an event ID or `main`.")
        user_id = request.user.user_id
        if receipt_type == FULLY_READ:
            await self._read_markers.move(user_id, room_id, {FULLY_READ: event_id})
        else:
            await self._receipts.read_up_to(user_id, room_id, receipt_type, event_id, thread_id)
        return {}


def _is_thread_id(text: str) -> bool:
    return text == MAIN_THREAD or (len(text) > 1 and text.startswith("$"))
