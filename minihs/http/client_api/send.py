"""`PUT /rooms/{roomId}/send/{eventType}/{txnId}`: the most travelled path of the server.

What asks for a future is handed to the dialects before anything is sent. Source: Client-Server API, "Sending
events to a room"; futures specification, 2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from minihs.events.event import Event
from minihs.events.ids import RoomID
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.transactions import Record, TransactionKey, Transactions
from minihs.http.client_api.room_requests import not_a_member
from minihs.http.dialects.base import OrdinarySend
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route
from minihs.store.writer import Batch

Claim = Callable[[OrdinarySend], Awaitable[Reply | dict[str, Any]] | None]
"""Gives the answer of the dialect that a send belongs to; None when it is an ordinary one."""


class Send:
    """Sends messages."""

    def __init__(self, sending: Sending, transactions: Transactions, claim: Claim) -> None:
        self._sending = sending
        self._transactions = transactions
        self._claim = claim

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="PUT",
                path="/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
                access=Access.USER,
                handler=self.send,
                limit="send",
            )
        ]

    async def send(self, request: ApiRequest) -> Reply | dict[str, Any]:
        """`PUT /rooms/{roomId}/send/{eventType}/{txnId}`."""
        args = request.args
        room_id, event_type, txn_id = args["room_id"], args["event_type"], args["txn_id"]
        content = request.json
        claimed = self._claim(
            OrdinarySend(
                request=request,
                room_id=room_id,
                type=event_type,
                state_key=None,
                txn_id=txn_id,
                content=content,
            )
        )
        if claimed is not None:
            return await claimed
        user = request.user
        draft = EventDraft(
            room_id=RoomID(room_id),
            sender=user.user_id,
            type=event_type,
            content=content,
            device_id=user.device_id,
            txn_id=txn_id,
        )

        async def work(record: Record) -> dict[str, Any]:
            def also(batch: Batch, event: Event) -> None:
                record(batch, {"event_id": event.event_id})

            return {"event_id": await self._sending.send(draft, also=also)}

        key = TransactionKey(user.user_id, user.device_id, f"rooms/{room_id}/send/{event_type}", txn_id)
        try:
            return await self._transactions.once(key, work)
        except UnknownRoom as error:
            raise not_a_member() from error
