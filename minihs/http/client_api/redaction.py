"""`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`. Source: Client-Server API, "Redactions"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID
from minihs.homeserver.room_actions.sending import REDACTION, Sending
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.transactions import Record, TransactionKey, Transactions
from minihs.http.client_api.room_requests import only_members, room_id_of
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.writer import Batch


class RedactBody(msgspec.Struct):
    """The body of a redaction."""

    reason: str | None = None


class Redaction:
    """Redacts events."""

    def __init__(self, sending: Sending, transactions: Transactions) -> None:
        self._sending = sending
        self._transactions = transactions

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="PUT",
                path="/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}",
                access=Access.MEMBER,
                handler=self.redact,
                body=RedactBody,
                limit="send",
                while_suspended=True,
            )
        ]

    async def redact(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`."""
        room_id, event_id, txn_id = room_id_of(request), request.args["event_id"], request.args["txn_id"]
        user = request.user
        if user.is_suspended and not await self._sending.is_from(EventID(event_id), user.user_id):
            raise MatrixError(403, "M_USER_SUSPENDED", "A suspended account can redact its own events only.")
        reason = request.body.reason
        draft = EventDraft(
            room_id=room_id,
            sender=user.user_id,
            type=REDACTION,
            content={} if reason is None else {"reason": reason},
            redacts=EventID(event_id),
            device_id=user.device_id,
            txn_id=txn_id,
        )

        async def work(record: Record) -> dict[str, Any]:
            def also(batch: Batch, event: Event) -> None:
                record(batch, {"event_id": event.event_id})

            return {"event_id": await self._sending.send(draft, also=also)}

        key = TransactionKey(user.user_id, user.device_id, f"rooms/{room_id}/redact/{event_id}", txn_id)
        with only_members():
            return await self._transactions.once(key, work)
