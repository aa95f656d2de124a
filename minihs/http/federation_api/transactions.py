"""`PUT /send/{txnId}`: transactions of PDUs and EDUs. Source: Server-Server API, "Transactions"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.homeserver.elsewhere.inbound_transactions import MAX_EDUS, MAX_PDUS, InboundTransactions
from minihs.http.errors import MatrixError
from minihs.http.federation_api.paths import LIMIT, V1
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

MAX_TRANSACTION_BYTES = MAX_PDUS * (65_536 + 4_096) + MAX_EDUS * 65_536
"""Every PDU at its limit, with some room for `unsigned`, and EDUs of the same size."""
MAX_TXN_ID_LENGTH = 255


class TransactionBody(msgspec.Struct):
    """The body of a transaction; what PDUs and EDUs look like is checked one by one."""

    origin: str
    origin_server_ts: int
    pdus: list[Any]
    edus: list[Any] = []


class Transactions:
    """The endpoint that takes transactions."""

    def __init__(self, transactions: InboundTransactions) -> None:
        self._transactions = transactions

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route(
                method="PUT",
                path=f"{V1}/send/{{txn_id}}",
                access=Access.SERVER,
                handler=self.send,
                body=TransactionBody,
                limit=LIMIT,
                max_body=MAX_TRANSACTION_BYTES,
            )
        ]

    async def send(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v1/send/{txnId}"""
        body: TransactionBody = request.body
        txn_id = request.args["txn_id"]
        if body.origin != request.server:
            raise MatrixError(403, "M_FORBIDDEN", "The transaction's origin is not who signed the request.")
        if not 1 <= len(txn_id) <= MAX_TXN_ID_LENGTH:
            raise MatrixError(
                400, "M_INVALID_PARAM", f"A transaction ID has 1 to {MAX_TXN_ID_LENGTH} characters."
            )
        return await self._transactions.receive(request.server, txn_id, body.pdus, body.edus)
